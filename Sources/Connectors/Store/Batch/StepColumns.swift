import CallEngine

extension WriteBatch {
    /// Columns of the insert of steps for CRMs, or `nil` without any: call ids, PBXs, steps, calls, and the targets, of
    /// which each gets every step.
    func stepParameters(_ settings: StoreSettings) -> [PostgresArray]? {
        let rows = stepRows(settings)
        guard !rows.isEmpty, !settings.crmTargets.isEmpty else { return nil }
        var columns = (0..<5).map { _ in PostgresArray(of: .text) }
        for row in rows {
            columns[0].append(row.callID)
            columns[1].append(row.pbx(settings.pbxNames))
            columns[2].append([UInt8](row.kind.rawValue.utf8))
            columns[3].append(row.call.json)
        }
        for target in settings.crmTargets { columns[4].append([UInt8](target.utf8)) }
        for index in columns.indices { columns[index].finish() }
        return columns
    }

    /// Calls whose own row the database refused, so far.
    var refusedCalls: Set<String> { Set(refused.lazy.filter { $0.kind == .call }.map(\.callID)) }

    /// What the CRM shall be told, as rows; without that of calls whose own row the database refused.
    func stepRows(_ settings: StoreSettings) -> [CRMStepRow] {
        let without = refusedCalls
        // Of several states of a call's telephones only the last is worth a row.
        var newest: [String: Int] = [:]
        for (index, action) in crmActions.enumerated() {
            if case .telephones(let call) = action { newest[call.callID] = index }
        }
        var rows: [CRMStepRow] = []
        for (index, action) in crmActions.enumerated() where !without.contains(action.call.callID) {
            if case .telephones(let call) = action, newest[call.callID] != index { continue }
            rows += CRMStepRow.rows(of: action, hasRecordings: settings.crmRecordings)
        }
        return rows
    }
}

/// An action as a row of the steps.
struct CRMStepRow {
    let kind: CRMStepKind
    let call: CRMCall

    init(_ action: CRMAction) {
        switch action {
        case .register(let call): (kind, self.call) = (.register, call)
        case .telephones(let call): (kind, self.call) = (.cards, call)
        case .finish(let call): (kind, self.call) = (.finish, call)
        }
    }

    private init(recordingOf call: CRMCall) { (kind, self.call) = (.record, call) }

    /// The rows of an action: its own, and at the end of a call that may have been recorded that of its recording.
    static func rows(of action: CRMAction, hasRecordings: Bool) -> [CRMStepRow] {
        let row = CRMStepRow(action)
        guard hasRecordings, row.kind == .finish, row.call.mayHaveRecording else { return [row] }
        return [row, CRMStepRow(recordingOf: row.call)]
    }

    /// Whether a target is told of it.
    func isFor(_ target: String) -> Bool {
        switch kind {
        case .register, .finish: true
        case .cards, .record: target == CRMTargetName.withCardsAndRecords.rawValue
        }
    }

    /// The call's key, as its column takes it.
    var callID: [UInt8] {
        var text = call.callID
        return text.withUTF8 { ColumnText.cleaned(UnsafeRawBufferPointer($0)).bytes }
    }

    /// The PBX's name; that of the first when there is no such PBX.
    func pbx(_ names: [String]) -> [UInt8] {
        [UInt8]((Int(call.pbx) < names.count ? names[Int(call.pbx)] : names.first ?? "").utf8)
    }
}
