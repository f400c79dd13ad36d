import CScan

extension JSONFieldScanner {
    /// Reads a text of `n` bytes, at least one.
    @inline(__always)
    func read(_ p: UnsafePointer<UInt8>, _ n: Int) throws(JSONError) -> JSONScan {
        prepareFollowing(p, n)
        var i = 0
        // The outermost value is taken as that of the root's holder, and the place before it as behind one.
        var key = table.slots + KeyTable.rootHolder
        let followed = step(&i, &key)
        // Most events end here: stretches led to the last string, and only the closing brackets are left. What they
        // close was opened by stretches, which open nothing that is noted at its end.
        if followed == .behindValue, isClosed(p, i, n, openObjects(at: key)) {
            return JSONScan(root: .object, features: [], duplicateKeys: 0)
        }
        return try walk(p, n, from: i, key, followed)
    }

    /// Whether all that is left are the brackets that close so many objects.
    @inline(__always)
    private func isClosed(_ p: UnsafePointer<UInt8>, _ i: Int, _ n: Int, _ open: Int) -> Bool {
        guard n &- i == open else { return false }
        var i = i
        while i < n {
            if p[i] != 0x7D { return false }
            i &+= 1
        }
        return true
    }

    /// The general way through all of JSON, from where stretches have led to; and what is learned on it.
    private func walk(
        _ p: UnsafePointer<UInt8>, _ n: Int, from start: Int, _ key: KeyTable.Slot, _ followed: Followed
    ) throws(JSONError) -> JSONScan {
        let slots = table.slots
        let generic = slots + KeyTable.genericHead
        var features = JSONFeatures()
        var root = JSONField.Kind.absent
        // The last key of the object we are in, or its context's head; the generic head in an array, and for a
        // key that is not remembered.
        var previous = key
        var head = slots + Int(previous.pointee.context)
        var isObject = followed != .nowhere
        var depth = isObject ? openFrames(of: previous) : 0
        var isBehindValue = followed == .behindValue
        var i = isObject ? start : JSONLexer.skipSpace(p, start, n)
        stretches.giveUp()
        if followed == .atValue {
            countIfRepeated(previous)
        } else {
            stretches.begin(table.index(of: previous), at: i)
        }

        document: while true {
            // A value.
            var kind = JSONField.Kind.string
            var opened = false
            if isBehindValue == false {
                i = JSONLexer.skipSpace(p, i, n)
                guard i < n else { throw JSONError(.unexpectedEnd, at: n) }
                let start = i
                var hasEscapes = false
                var quote = 0
                switch p[i] {
                case 0x22:
                    i &+= 1
                    quote = 1
                    if stretches.isLearning { learn(p, previous, i, isString: true, features) }
                    (i, hasEscapes) = try JSONLexer.string(p, i, n, &features)
                    i &+= 1
                case 0x7B:
                    guard depth < maximumDepth else { throw JSONError(.tooDeep, at: i) }
                    frames[depth] = Frame(
                        previous: previous, head: head, start: UInt32(truncatingIfNeeded: start),
                        isInObject: isObject)
                    depth &+= 1
                    isObject = true
                    i = JSONLexer.skipSpace(p, i &+ 1, n)
                    opened = !(i < n && p[i] == 0x7D)
                    kind = .object
                    let child = Int(previous.pointee.child)
                    head = child != 0 ? slots + child : table.newContext(under: previous)
                    let field = previous.pointee.field
                    if stretches.isLearning {
                        // Where an object starts that is noted itself is not remembered on the quick way.
                        if !opened || head == generic || (field >= 0 && isLast[Int(field)]) {
                            learn(p, previous, start, isString: false, features)
                        } else {
                            stretches.open(field)
                        }
                    }
                    if field >= 0 { fields[Int(field)].generation = generation }
                    previous = head
                case 0x5B:
                    guard depth < maximumDepth else { throw JSONError(.tooDeep, at: i) }
                    if stretches.isLearning { learn(p, previous, start, isString: false, features) }
                    frames[depth] = Frame(
                        previous: previous, head: head, start: UInt32(truncatingIfNeeded: start),
                        isInObject: isObject)
                    depth &+= 1
                    previous = generic
                    head = generic
                    isObject = false
                    i = JSONLexer.skipSpace(p, i &+ 1, n)
                    if i < n, p[i] == 0x5D { kind = .array } else { continue document }
                case 0x2D, 0x30...0x39:
                    if stretches.isLearning, previous.pointee.field >= 0 {
                        learn(p, previous, start, isString: false, features)
                    }
                    i = try JSONLexer.number(p, i, n, &features)
                    kind = .number
                case 0x74, 0x66, 0x6E:
                    if stretches.isLearning, previous.pointee.field >= 0 {
                        learn(p, previous, start, isString: false, features)
                    }
                    i = try JSONLexer.literal(p, i, n)
                    kind = p[start] == 0x74 ? .true : p[start] == 0x66 ? .false : .null
                default: throw JSONError(.unexpectedByte, at: i)
                }
                // Objects and arrays are noted when they end.
                let field = Int(previous.pointee.field)
                if field >= 0 {
                    fields[field] = JSONField(
                        offset: UInt32(truncatingIfNeeded: start &+ quote),
                        count: UInt32(truncatingIfNeeded: i &- start &- quote &- quote), kind: kind,
                        hasEscapes: hasEscapes, generation: generation)
                }
            }
            isBehindValue = false

            // What comes behind a value; closing brackets, one after the other.
            if !opened {
                after: while true {
                    if depth == 0 {
                        root = root == .absent ? kind : root
                        break document
                    }
                    if isObject, previous != generic, stretches.isLearning == false {
                        let followed = step(&i, &previous)
                        if followed != .nowhere {
                            head = slots + Int(previous.pointee.context)
                            depth = openFrames(of: previous)
                        }
                        if followed == .atValue {
                            countIfRepeated(previous)
                            continue document
                        }
                        stretches.begin(table.index(of: previous), at: i)
                    }
                    guard i < n else { throw JSONError(.unexpectedEnd, at: n) }
                    var byte = p[i]
                    if byte <= 0x20 {
                        i = JSONLexer.skipSpace(p, i, n)
                        guard i < n else { throw JSONError(.unexpectedEnd, at: n) }
                        byte = p[i]
                    }
                    if byte == 0x2C {
                        i &+= 1
                        // `{,` and `[,` do not come here: an object's first key and an array's first value
                        // are read as such.
                        if isObject { break after }
                        continue document
                    }
                    guard byte == (isObject ? 0x7D : 0x5D) else { throw JSONError(.unexpectedByte, at: i) }
                    i &+= 1
                    depth &-= 1
                    let frame = frames[depth]
                    let field = Int(frame.previous.pointee.field)
                    if field >= 0 {
                        if isLast[field] { stretches.giveUp() }
                        fields[field] = JSONField(
                            offset: frame.start,
                            count: UInt32(truncatingIfNeeded: i) &- frame.start,
                            kind: isObject ? .object : .array, hasEscapes: false, generation: generation)
                    }
                    if depth == 0 { root = isObject ? .object : .array }
                    previous = frame.previous
                    head = frame.head
                    isObject = frame.isInObject
                }
            }

            // A key.
            guard i < n else { throw JSONError(.unexpectedEnd, at: n) }
            if p[i] <= 0x20 {
                i = JSONLexer.skipSpace(p, i, n)
                guard i < n else { throw JSONError(.unexpectedEnd, at: n) }
            }
            let guess = slots + Int(previous.pointee.next.0)
            if n &- i >= 32, cscan_slot_match(p + i, guess) != 0 {
                i &+= Int(guess.pointee.length)
                previous = guess
            } else {
                let second = slots + Int(previous.pointee.next.1)
                if n &- i >= 32, cscan_slot_match(p + i, second) != 0 {
                    i &+= Int(second.pointee.length)
                    previous = second
                } else {
                    previous = try table.key(p, &i, n, after: previous, in: head, &features)
                    if previous == generic { stretches.giveUp() }
                }
            }
            countIfRepeated(previous)
        }

        i = JSONLexer.skipSpace(p, i, n)
        guard i == n else { throw JSONError(.trailingBytes, at: i) }
        return JSONScan(root: root, features: features, duplicateKeys: duplicates)
    }

    /// A stretch ends here, unless something in it has to be told each time that it is walked.
    @inline(__always)
    private func learn(
        _ p: UnsafePointer<UInt8>, _ key: KeyTable.Slot, _ end: Int, isString: Bool,
        _ features: JSONFeatures
    ) {
        guard features.isEmpty else { return stretches.giveUp() }
        let slot = table.index(of: key)
        if isString, key.pointee.field < 0 {
            stretches.learnOrPass(p, to: slot, end: end)
        } else {
            stretches.learn(p, to: slot, key.pointee.field, end: end, isString: isString)
        }
    }

    /// Counts a key of the plan that stands for the second time in the same object.
    @inline(__always)
    private func countIfRepeated(_ key: KeyTable.Slot) {
        let field = Int(key.pointee.field)
        if field >= 0, fields[field].generation == generation { repeated(field) }
    }
}
