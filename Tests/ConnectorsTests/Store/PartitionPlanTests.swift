import Testing

@testable import Connectors

@Suite("Partitions are planned so that every row has one")
struct PartitionPlanTests {
    /// Every day of the window and of the lead, once.
    private func check(_ plan: PartitionPlan, _ covered: [Range<Int>], _ made: [Range<Int>]) {
        let first = plan.today - PartitionPlan.lookBackDays
        for day in first..<plan.today + PartitionPlan.leadDays {
            #expect(
                (covered + made).filter { $0.contains(day) }.count == 1,
                "day \(day) of \(covered) and \(made)")
        }
        #expect(made.allSatisfy { $0.count <= plan.width && !$0.isEmpty })
    }

    @Test("from nothing", arguments: [nil, 3, 60, 61, 3650])
    func empty(_ retention: Int?) {
        for today in 20_000..<20_015 {
            let plan = PartitionPlan(today: today, retentionDays: retention)
            let made = plan.missing([])
            check(plan, [], made)
            #expect(plan.holdsWindow(made))
            #expect(plan.missing(made).isEmpty, "done is done")
            #expect(plan.coveredUntil(made) >= today + PartitionPlan.leadDays)
        }
        #expect(PartitionPlan(today: 0, retentionDays: 60).width == 1)
        #expect(PartitionPlan(today: 0, retentionDays: 61).width == 7)
        #expect(PartitionPlan(today: 0, retentionDays: nil).width == 7)
    }

    @Test("a year of days, each going on from the last, whatever the retention becomes")
    func days() {
        var covered: [Range<Int>] = []
        for today in 20_000..<20_365 {
            let retention = [nil, 30, 90, 5][today / 50 % 4]
            let plan = PartitionPlan(today: today, retentionDays: retention)
            let made = plan.missing(covered)
            check(plan, covered, made)
            covered += made
        }
        // No gap anywhere in between either.
        let sorted = covered.sorted { $0.lowerBound < $1.lowerBound }
        for (left, right) in zip(sorted, sorted.dropFirst()) { #expect(left.upperBound == right.lowerBound) }
    }

    @Test("around what somebody else made, and after months of standing still")
    func around() {
        let plan = PartitionPlan(today: 20_000, retentionDays: nil)
        for covered in [
            [19_000..<19_700], [20_003..<20_004, 20_010..<20_030], [19_999..<20_001], [20_001..<20_002],
        ] {
            let made = plan.missing(covered)
            check(plan, covered, made)
            #expect(made.allSatisfy { $0.lowerBound > 19_980 }, "no days long past are made")
        }
        #expect(plan.coveredUntil([]) == 20_000)
        #expect(plan.coveredUntil([19_990..<20_003, 20_004..<20_010]) == 20_003)
        #expect(!plan.holdsWindow([19_999..<20_010]))
    }

    @Test("weeks begin on Mondays; names tell the first day")
    func names() {
        // 2026-02-04 is a Wednesday.
        let made = PartitionPlan(today: 20_488, retentionDays: nil).missing([])
        #expect(made.first.map { PartitionPlan.date($0.lowerBound) } == "2026-02-02")
        #expect(made.first.map { PartitionPlan.name(from: $0.lowerBound) } == "call_events_p20260202")
        #expect(made.first.map { PartitionPlan.date($0.upperBound) } == "2026-02-09")
    }

    @Test("little headroom is said, with the reason")
    func alarm() {
        var report = UpkeepReport()
        #expect(StoreKeeper.alarm(report) == nil)
        report.daysAhead = PartitionPlan.alarmDays
        #expect(StoreKeeper.alarm(report) == nil)
        report.daysAhead = 3
        report.problem = "must be owner"
        #expect(StoreKeeper.alarm(report) == "there are event partitions for 3 more days only: must be owner")
    }
}
