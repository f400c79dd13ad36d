/// What is in the portal's CRM, found by telephone number.
package struct CRMDirectory: Sendable {
    private struct Place: Sendable {
        var phone: String
        var kind: PortalSettings.Entity.Kind
        var id: Int
    }

    private let capacity: Int
    private var byPhone: [String: [PortalSettings.Entity]] = [:]
    private var order: [Place] = []

    /// - Parameters:
    ///   - entities: What is there from the beginning.
    ///   - capacity: The most entities kept; the oldest leave.
    init(_ entities: [PortalSettings.Entity], capacity: Int) {
        self.capacity = max(1, capacity)
        for entity in entities { insert(entity) }
    }

    /// How many entities there are.
    package var count: Int { order.count }

    /// All entities, oldest first.
    ///
    /// O(n).
    package var all: [PortalSettings.Entity] {
        order.compactMap { place in
            byPhone[place.phone]?.first { $0.kind == place.kind && $0.id == place.id }
        }
    }

    /// The entities with a number (digits only): contacts, leads, companies, in this order.
    func matches(_ phone: String) -> [PortalSettings.Entity] {
        let found = byPhone[phone] ?? []
        let kinds: [PortalSettings.Entity.Kind] = [.contact, .lead, .company]
        return kinds.flatMap { kind in found.filter { $0.kind == kind } }
    }

    /// An entity by kind and id.
    ///
    /// O(n), and only used when a client names one.
    func entity(_ kind: PortalSettings.Entity.Kind, _ id: Int) -> PortalSettings.Entity? {
        all.first { $0.kind == kind && $0.id == id }
    }

    mutating func insert(_ entity: PortalSettings.Entity) {
        byPhone[entity.phone, default: []].append(entity)
        order.append(Place(phone: entity.phone, kind: entity.kind, id: entity.id))
        // A tenth leaves at once, so that the cost per entity stays constant.
        guard order.count > capacity else { return }
        let leaving = max(1, capacity / 10)
        for place in order.prefix(leaving) {
            byPhone[place.phone]?.removeAll { $0.kind == place.kind && $0.id == place.id }
            if byPhone[place.phone]?.isEmpty == true { byPhone[place.phone] = nil }
        }
        order.removeFirst(leaving)
    }

    /// Makes a user responsible; false when the entity is not there.
    mutating func move(_ entity: PortalSettings.Entity, to userID: Int) -> Bool {
        guard
            let position = byPhone[entity.phone]?.firstIndex(where: {
                $0.kind == entity.kind && $0.id == entity.id
            })
        else { return false }
        byPhone[entity.phone]?[position].responsibleID = userID
        return true
    }
}
