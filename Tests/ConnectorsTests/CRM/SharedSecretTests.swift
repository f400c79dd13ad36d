import Testing

@testable import Connectors

@Suite("Shared secrets: HMAC by the vectors of RFC 4231, and texts compared")
struct SharedSecretTests {
    @Test("signatures")
    func signatures() {
        func signature(_ message: String, _ key: String) -> String? {
            SharedSecret.signature(of: Array(message.utf8), key: key)
        }
        #expect(
            signature("Hi There", String(repeating: "\u{0B}", count: 20))
                == "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")
        #expect(
            signature("what do ya want for nothing?", "Jefe")
                == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
        #expect(
            signature("", "") == "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad")
    }

    @Test("secrets are the same or not")
    func secrets() {
        #expect(SharedSecret.isSame("token", as: "token"))
        for wrong in ["", "toke", "tokens", "Token", "tokex", "ttttt"] {
            #expect(!SharedSecret.isSame(wrong, as: "token"), "\(wrong)")
        }
        #expect(SharedSecret.isSame("", as: ""))
    }
}
