/// The steps of one target in the database: read, claimed and written by its sender.
///
/// Used on one loop's thread; completions come on it too, exactly once each and never before the call returned. What
/// is asked is done in its order, and tried until the database has done it; nothing is written twice with another
/// effect than once.
package protocol CRMStepStore: AnyObject {
    /// Begins to connect.
    func start()
    /// Writes what became of steps.
    func write(_ changes: [CRMStepChange])
    /// Takes steps for sending; answered once that is durable, with those that were granted.
    func claim(_ claims: [CRMStepClaim], completion: @escaping (Set<CRMStepKey>) -> Void)
    /// Writes steps that no batch brought, where there are none yet; answered once they are durable.
    func add(_ steps: [CRMStepAddition], completion: @escaping () -> Void)
    /// Reads steps.
    func load(_ load: CRMStepLoad, completion: @escaping (CRMStepRows) -> Void)
    /// Writes what waits, at most for `limit`, then closes; reads and claims that wait are not answered any more.
    func stop(within limit: Duration, completion: @escaping () -> Void)
}
