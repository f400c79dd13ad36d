import Connectors
import Protocols
import Reactor
import Testing

@Suite("The live page asks for nothing off its site; metrics are valid Prometheus text", .serialized)
struct APIPageAndMetricsTests {
    @Test("the page comes with its security headers", arguments: HTTPDrivers.present)
    func headers(_ mode: IOMode) throws {
        let bench = try APIBench(mode)
        let page = bench.get("/")
        #expect(page.status == 200)
        #expect(page.field("content-type") == "text/html; charset=utf-8")
        #expect(page.field("x-content-type-options") == "nosniff")
        let policy = try #require(page.field("content-security-policy"))
        #expect(policy.contains("default-src 'none'"))
        #expect(policy.contains("connect-src 'self'"))
        #expect(policy.contains("frame-ancestors 'none'"))
        #expect(page.body.hasPrefix("<!doctype html>"))
        #expect(page.body.contains("</html>"))
        #expect(page.field("content-length") == String(LivePage.bytes.count))
    }

    @Test("the document is self-contained and never builds markup from text")
    func selfContained() {
        let page = String(decoding: LivePage.bytes, as: UTF8.self)
        for word in [
            "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function",
        ] {
            #expect(!page.contains(word), "\(word)")
        }
        // The one URL with a host is the namespace inside the icon, which is a name and never fetched.
        let namespace = "http://www.w3.org/2000/svg"
        #expect(page.count(of: namespace) == 1)
        let rest = page.replacing(namespace, with: "")
        for word in ["http://", "https://", "src=", "@import", "url(", "ws://"] {
            #expect(!rest.contains(word), "\(word)")
        }
        #expect(page.count(of: "EventSource(") == 1)
        #expect(page.contains(#"new EventSource("/api/stream")"#))
        #expect(page.contains("prefers-color-scheme: dark"))
        #expect(page.contains("prefers-reduced-motion"))
        #expect(page.contains("width=device-width"))
        #expect(page.contains(#"<html lang="en">"#))
        #expect(page.contains("aria-live"))
        #expect(page.contains("reconnecting"))
    }

    @Test("GET /metrics is valid text format, each metric once", arguments: HTTPDrivers.present)
    func metrics(_ mode: IOMode) throws {
        let bench = try APIBench(mode)
        bench.http.metrics.add(.ariEvents, 7)
        bench.environment.extraMetrics =
            "# HELP callflow_extra Extra.\n# TYPE callflow_extra gauge\ncallflow_extra 1\n"
        let answer = bench.get("/metrics")
        #expect(answer.status == 200)
        #expect(answer.field("content-type") == "text/plain; version=0.0.4; charset=utf-8")
        #expect(answer.body.hasSuffix("\n"))
        #expect(answer.body.contains("\ncallflow_ari_events_total 7\n"))
        #expect(answer.body.contains("\ncallflow_extra 1\n"))
        var names: Set<String> = []
        var samples = 0
        var histogramLines = 0
        var typed: String?
        var isHistogram = false
        for line in answer.body.split(separator: "\n") {
            let words = line.split(separator: " ")
            if line.hasPrefix("# HELP ") {
                #expect(words.count > 3, "\(line)")
                #expect(names.insert(String(words[2])).inserted, "\(line) stands twice")
            } else if line.hasPrefix("# TYPE ") {
                #expect(words.count == 4, "\(line)")
                #expect(["counter", "gauge", "histogram"].contains(words[3]), "\(line)")
                #expect(names.contains(String(words[2])), "\(line)")
                if words[3] == "counter" { #expect(words[2].hasSuffix("_total"), "\(line)") }
                typed = String(words[2])
                isHistogram = words[3] == "histogram"
            } else {
                #expect(words.count == 2, "\(line)")
                #expect(words.last.flatMap { Double($0) } != nil, "\(line)")
                if isHistogram {
                    let series = ["_bucket", "_sum", "_count"].map { "\(typed ?? "")\($0){stage=\"" }
                    #expect(series.contains { line.hasPrefix($0) }, "\(line)")
                    histogramLines += 1
                } else {
                    #expect(words.first.map { String($0) } == typed, "\(line)")
                    samples += 1
                }
            }
        }
        #expect(samples == names.count - 1)
        #expect(samples == Metric.allCases.count + 1)
        #expect(histogramLines == LatencyStage.allCases.count * (21 + 3))
    }
}
