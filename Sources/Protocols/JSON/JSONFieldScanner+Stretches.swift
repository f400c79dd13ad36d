import CScan

extension JSONFieldScanner {
    /// Where following stretches has led to.
    enum Followed {
        /// No stretch fits: nothing has changed.
        case nowhere
        /// Behind the value of the key.
        case behindValue
        /// At the value of the key, which is to be read in the general way.
        case atValue
    }

    /// Whether what C writes into fields is what Swift reads there.
    static let isFieldAsInC =
        MemoryLayout<JSONField>.stride == MemoryLayout<cscan_field>.stride
        && MemoryLayout<JSONField>.offset(of: \.offset) == MemoryLayout<cscan_field>.offset(of: \.offset)
        && MemoryLayout<JSONField>.offset(of: \.count) == MemoryLayout<cscan_field>.offset(of: \.count)
        && MemoryLayout<JSONField>.offset(of: \.kind) == MemoryLayout<cscan_field>.offset(of: \.kind)
        && MemoryLayout<JSONField>.offset(of: \.hasEscapes)
            == MemoryLayout<cscan_field>.offset(of: \.has_escapes)
        && MemoryLayout<JSONField>.offset(of: \.generation)
            == MemoryLayout<cscan_field>.offset(of: \.generation)
        && JSONField.Kind.string.rawValue == CSCAN_KIND_STRING

    /// Makes ready for following in a text.
    @inline(__always)
    func prepareFollowing(_ p: UnsafePointer<UInt8>, _ n: Int) {
        follower.pointee.text = p
        follower.pointee.count = n
        follower.pointee.indexed_from = 0
        follower.pointee.indexed_end = 0
        follower.pointee.generation = generation
    }

    /// Follows stretches that are known, and the plain strings between them, as far as they lead.
    ///
    /// This is most of an event. It does what the general walk would do for the same bytes, but for the frames of
    /// open objects: see ``openFrames(of:)``.
    ///
    /// - Parameters:
    ///   - i: Behind the value of `key`; then where it has led to.
    ///   - key: A key that is remembered; then the key that it has led to.
    @inline(__always)
    func step(_ i: inout Int, _ key: inout KeyTable.Slot) -> Followed {
        follower.pointee.i = i
        follower.pointee.slot = UInt16(truncatingIfNeeded: table.index(of: key))
        let state = Int(cscan_follow(follower))
        if state == CSCAN_UNKNOWN { return .nowhere }
        i = follower.pointee.i
        key = table.slots + Int(follower.pointee.slot)
        return state == CSCAN_AT_VALUE ? .atValue : .behindValue
    }

    /// How many objects are open at a key that is remembered.
    @inline(__always)
    func openObjects(at key: KeyTable.Slot) -> Int {
        Int(table.slots[Int(key.pointee.context)].depth)
    }

    /// Writes the frames of the objects that are open at a key, and tells how many those are.
    ///
    /// The frame of an object that was opened in the general way and is open still is left as it is: where the
    /// object starts is known there alone, and wanted of those alone.
    @inline(__always)
    func openFrames(of key: KeyTable.Slot) -> Int {
        var head = table.slots + Int(key.pointee.context)
        let open = Int(head.pointee.depth)
        var depth = open
        while depth > 0 {
            depth &-= 1
            let owner = table.slots + Int(head.pointee.owner)
            head = table.slots + Int(owner.pointee.context)
            if frames[depth].previous != owner {
                frames[depth] = Frame(previous: owner, head: head, start: 0, isInObject: depth > 0)
            }
        }
        return open
    }
}
