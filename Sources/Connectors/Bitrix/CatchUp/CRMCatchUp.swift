import CallEngine
package import Logging
package import Protocols
package import Reactor

/// Takes up what an earlier run of the daemon left undone in the CRM: after `kill -9`, a lost machine, or a stop
/// while the portal was away.
///
/// Each call's own row, written in the transaction that changed the call, is what is taken up; nothing else has to
/// be kept. Open calls give their portal's id back, so that their end finds it. Ended ones are given to the client
/// as a catch-up: with a portal's id they are finished once more, which the portal answers with "not found" if that
/// was done, and without one the portal's statistics are asked first. Newest first, a page at a time.
package final class CRMCatchUp {
    /// Calls in a page.
    package static let pageSize = 500
    /// Ended calls that are looked at.
    package static let maximumCalls = 20_000
    /// While the client holds so many steps the next page waits.
    package static let maximumPending = 2_000
    private static let pause: Duration = .seconds(1)
    private static let repeatAfter: Duration = .seconds(5)

    private let loop: Loop
    private let reader: any StoreReader
    private let client: BitrixClient
    private let pbxNames: [String]
    private let since: Timestamp
    private let before: Timestamp
    private let logger: Logger
    private var seen = 0
    private var given = 0
    private var timer: TimerID?
    private var isStopped = false

    /// Makes one that has not begun.
    ///
    /// - Parameters:
    ///   - since: Calls that began before this are left alone.
    ///   - before: When this run began; rows made after are its own.
    package init(
        loop: Loop, reader: any StoreReader, client: BitrixClient, pbxNames: [String], since: Timestamp,
        before: Timestamp, logger: Logger
    ) {
        self.loop = loop
        self.reader = reader
        self.client = client
        self.pbxNames = pbxNames
        self.since = since
        self.before = before
        self.logger = logger
    }

    /// Begins with the open calls.
    package func start() {
        guard !isStopped else { return }
        let filter = CallFilter(limit: StoreReads.maximumOpenCalls, openBefore: before)
        reader.calls(filter) { [weak self] result in
            guard let self, !isStopped else { return }
            switch result {
            case .success(let calls):
                client.resume(
                    calls.filter(isOurs).compactMap { stored in
                        CRMCall(stored: stored).map { .init(call: $0, bitrixCallID: stored.bitrixCallID) }
                    })
                page(after: nil)
            case .failure(let error):
                again(because: error) { $0.start() }
            }
        }
    }

    /// Stops; what is not taken up yet is left to the next start.
    package func stop() {
        isStopped = true
        if let timer { loop.cancel(timer) }
        timer = nil
    }

    private func isOurs(_ call: StoredCall) -> Bool { call.pbx.map(pbxNames.contains) ?? true }

    private func page(after cursor: CallCursor?) {
        guard !isStopped else { return }
        guard client.pendingSteps < Self.maximumPending else {
            return later(Self.pause) { $0.page(after: cursor) }
        }
        let filter = CallFilter(status: "finished", limit: Self.pageSize, after: cursor)
        reader.calls(filter) { [weak self] result in
            guard let self, !isStopped else { return }
            switch result {
            case .success(let calls): take(calls)
            case .failure(let error): again(because: error) { $0.page(after: cursor) }
            }
        }
    }

    private func take(_ calls: [StoredCall]) {
        for stored in calls {
            guard let start = stored.startedAt, start >= since else { return finish() }
            seen += 1
            guard seen <= Self.maximumCalls else { return finish() }
            guard isOurs(stored), stored.insertedAt < before, let call = CRMCall(stored: stored) else {
                continue
            }
            given += 1
            client.catchUp(call, bitrixCallID: stored.bitrixCallID)
        }
        guard calls.count == Self.pageSize, let last = calls.last else { return finish() }
        later(.zero) { $0.page(after: last.cursor) }
    }

    private func finish() {
        guard given > 0 else { return }
        logger.info(
            "Bitrix24: calls of an earlier run are compared with the portal", metadata: ["calls": "\(given)"])
    }

    private func again(because error: StoreError, _ body: @escaping (CRMCatchUp) -> Void) {
        logger.debug("Bitrix24: calls of an earlier run are looked at later: \(error)")
        later(Self.repeatAfter, body)
    }

    private func later(_ delay: Duration, _ body: @escaping (CRMCatchUp) -> Void) {
        timer = loop.schedule(after: delay) { [weak self] in
            guard let self else { return }
            timer = nil
            body(self)
        }
    }
}
