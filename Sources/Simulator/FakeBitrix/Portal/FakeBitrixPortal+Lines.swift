import Protocols

/// A line of the portal's.
package struct PortalLine: Sendable, Hashable {
    package var id: Int
    package var number: String
    package var name: String
    /// `CRM_AUTO_CREATE`, for calls begun in the portal.
    package var createsEntities = true
}

extension FakeBitrixPortal {
    /// Lines by number.
    package var lines: Set<String> { Set(lineRows.keys) }

    /// `telephony.externalLine.add`.
    mutating func addLine(
        _ parameters: PHPValue, _ caller: PortalCaller, at now: Timestamp
    ) throws(PortalError) -> PHPValue {
        try checkAuthType(caller)
        let number = parameters["NUMBER"].text ?? ""
        guard !number.isEmpty else { throw telephonyError("NUMBER should not be empty") }
        guard lineRows[number] == nil else { throw telephonyError("Line already exists") }
        let line = PortalLine(
            id: makeID(), number: number, name: parameters["NAME"].text ?? "",
            createsEntities: parameters["CRM_AUTO_CREATE"].text != "N")
        lineRows[number] = line
        note(.lineCreated(number: number), at: now)
        return .map(["ID": .int(line.id)])
    }

    /// `telephony.externalLine.update`; its `ID` is a text, that of `add` is not.
    mutating func updateLine(
        _ parameters: PHPValue, _ caller: PortalCaller
    ) throws(PortalError) -> PHPValue {
        try checkAuthType(caller)
        let number = parameters["NUMBER"].text ?? ""
        guard !number.isEmpty else { throw telephonyError("NUMBER should not be empty") }
        let name = parameters["NAME"] == .null ? nil : parameters["NAME"].text
        let creates = parameters["CRM_AUTO_CREATE"] == .null ? nil : parameters["CRM_AUTO_CREATE"].text
        guard name != nil || creates != nil else { throw telephonyError("There are no fields to update") }
        guard var line = lineRows[number] else {
            throw telephonyError("Could not find line with number \(number)")
        }
        if let name { line.name = name }
        if let creates { line.createsEntities = creates != "N" }
        lineRows[number] = line
        return .map(["ID": .string(String(line.id))])
    }

    /// `telephony.externalLine.get`.
    func allLines(_ caller: PortalCaller) throws(PortalError) -> PHPValue {
        try checkAuthType(caller)
        return .list(
            lineRows.values.sorted { $0.id < $1.id }.map { line in
                .map([
                    "NUMBER": .string(line.number), "NAME": .string(line.name),
                    "CRM_AUTO_CREATE": .string(line.createsEntities ? "Y" : "N"),
                ])
            })
    }

    /// `telephony.externalLine.delete`.
    mutating func deleteLine(
        _ parameters: PHPValue, _ caller: PortalCaller
    ) throws(PortalError) -> PHPValue {
        try checkAuthType(caller)
        let number = parameters["NUMBER"].text ?? ""
        guard lineRows.removeValue(forKey: number) != nil else {
            throw telephonyError("Could not find line with number \(number)")
        }
        return .map([:])
    }
}
