/// A value that changes its owning thread: whoever sends it does not touch it until it comes back.
///
/// The compiler cannot see that rule through a mailbox, hence `@unchecked`; all uses are in this folder.
struct HandedOver<Value>: @unchecked Sendable {
    let value: Value

    init(_ value: Value) { self.value = value }
}
