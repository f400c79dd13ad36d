import Protocols
import Testing

@Suite("The elements of a JSON array, one at a time")
struct JSONElementsTests {
    private static func elements(_ text: String) throws(JSONError) -> [String] {
        let bytes = Array(text.utf8)
        var walk = JSONElements()
        var found: [String] = []
        while let range = try walk.next(in: bytes.span.bytes) {
            found.append(String(decoding: bytes[range], as: UTF8.self))
        }
        return found
    }

    @Test("Each element is found whole, whatever braces and quotes its strings hold")
    func found() throws {
        #expect(try Self.elements("[]") == [])
        #expect(try Self.elements(" [ ]\n") == [])
        #expect(try Self.elements("[1]") == ["1"])
        #expect(try Self.elements("[ 1 , \"a,]\\\"[\" ,null]") == ["1", "\"a,]\\\"[\"", "null"])
        #expect(try Self.elements("[{\"a\":[1,{\"b\":\"}]\"}]},{}]") == ["{\"a\":[1,{\"b\":\"}]\"}]}", "{}"])
        #expect(try Self.elements("[[[]],[]]") == ["[[]]", "[]"])
    }

    @Test("The end is told again when asked again")
    func end() throws {
        let bytes = Array("[1]".utf8)
        var walk = JSONElements()
        #expect(try walk.next(in: bytes.span.bytes) == 1..<2)
        #expect(try walk.next(in: bytes.span.bytes) == nil)
        #expect(try walk.next(in: bytes.span.bytes) == nil)
    }

    @Test(
        "What is no whole array is refused",
        arguments: [
            "", " ", "{}", "1", "[", "[1", "[1,", "[1,]", "[,1]", "[1]]", "[1] x", "[}", "[\"", "[{]",
        ])
    func refused(text: String) {
        #expect(throws: JSONError.self) { try Self.elements(text) }
    }

    @Test("Cut anywhere, a list is refused or gives whole elements only")
    func cut() throws {
        let text = #"[{"id":"1","name":"a]b"},{"id":"2","x":[{"y":"\"}"}]}]"#
        let whole = try Self.elements(text)
        for count in 0..<text.utf8.count {
            let bytes = Array(text.utf8.prefix(count))
            var walk = JSONElements()
            var found: [String] = []
            #expect(throws: JSONError.self) {
                while let range = try walk.next(in: bytes.span.bytes) {
                    found.append(String(decoding: bytes[range], as: UTF8.self))
                }
            }
            #expect(whole.starts(with: found), "cut at \(count)")
        }
    }
}
