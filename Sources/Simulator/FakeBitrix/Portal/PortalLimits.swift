import Protocols

/// The request bucket of one source address: one more with each request, less with time, refused above the limit.
struct IntensityBucket: Sendable {
    private var level = 0.0
    private var levelAt = 0.0

    /// Takes one request in, or refuses it (a refused one does not count).
    mutating func take(at seconds: Double, plan: PortalSettings.Plan) -> Bool {
        level = max(0, level - max(0, seconds - levelAt) * plan.perSecond)
        levelAt = seconds
        guard level + 1 <= plan.limit else { return false }
        level += 1
        return true
    }

    /// Fills the bucket up, as another program behind the same address would.
    mutating func fill(at seconds: Double, plan: PortalSettings.Plan) {
        level = plan.limit
        levelAt = seconds
    }
}

/// The running time of one method under one key, in ten buckets of a minute.
struct OperatingTime: Sendable {
    /// Calls shorter than this are not added.
    static let leastSeconds = 0.1
    private var minutes: [(minute: Int, seconds: Double)] = []

    /// The sum of the last ten minutes.
    mutating func sum(at seconds: Double) -> Double {
        let oldest = Int(seconds) / 60 - 9
        minutes.removeAll { $0.minute < oldest }
        return minutes.reduce(0) { $0 + $1.seconds }
    }

    /// When the oldest bucket drops out, in seconds since 1970.
    func resetsAt(_ seconds: Double) -> Int {
        ((minutes.first?.minute ?? Int(seconds) / 60) + 10) * 60
    }

    mutating func add(_ duration: Double, at seconds: Double) {
        guard duration >= Self.leastSeconds else { return }
        let minute = Int(seconds) / 60
        if let last = minutes.indices.last, minutes[last].minute == minute {
            minutes[last].seconds += duration
        } else {
            minutes.append((minute, duration))
        }
    }
}
