import Simulator
import Testing

@Suite("Fake Bitrix24: what it remembers is bounded")
struct PortalBoundsTests {
    @Test func callsRowsEntitiesAndEffectsLeaveWhenTheyAreTooMany() {
        var settings = PortalSettings()
        settings.plan = .unlimited
        settings.maximumActiveCalls = 20
        settings.maximumStatistics = 10
        settings.maximumEntities = 30
        settings.maximumLogEntries = 40
        let driver = PortalDriver(settings)
        var last = ""
        for index in 0..<100 {
            last =
                driver.register([
                    "EXTERNAL_CALL_ID": "e\(index)", "PHONE_NUMBER": "+7999\(1_000_000 + index)",
                    "CRM_CREATE": "1",
                ]).callID
            #expect(driver.portal.activeCalls.count <= 20)
        }
        #expect(driver.portal.activeCalls[last] != nil, "the newest stays")
        #expect(driver.portal.entities.count <= 30)
        #expect(driver.portal.entities.last?.phone == "79991000099")
        #expect(driver.portal.effects.entries.count == 40)
        #expect(driver.portal.effects.total == 200)
        #expect(driver.portal.effects.forgotten == 160)
        for index in 200..<260 {
            let callID = driver.register(["EXTERNAL_CALL_ID": "e\(index)"]).callID
            #expect(driver.finish(callID).status == 200)
            #expect(driver.portal.statistics.count <= 20)
            #expect(driver.portal.statistics[callID] != nil)
        }
    }

    @Test func forgottenEntityIsMadeAgain() {
        var settings = PortalSettings()
        settings.plan = .unlimited
        settings.maximumEntities = 5
        let driver = PortalDriver(settings)
        for index in 0..<6 {
            _ = driver.register(["PHONE_NUMBER": "+799900000\(index)", "CRM_CREATE": "1"])
        }
        let again = driver.register([
            "PHONE_NUMBER": "+7999000000", "EXTERNAL_CALL_ID": "b", "CRM_CREATE": "1",
        ])
        #expect(again.result["CRM_CREATED_LEAD"] is Int)
    }

    @Test func demonstrationHasTheSimulatedExtensionsAndNoLimits() {
        let driver = PortalDriver(.demonstration())
        for number in [101, 120, 140] {
            #expect(
                driver.register(["USER_PHONE_INNER": "\(number)", "EXTERNAL_CALL_ID": "\(number)"]).status
                    == 200)
        }
        #expect(driver.register(["USER_PHONE_INNER": "141"]).status == 400)
        for _ in 0..<500 { #expect(driver.call("user.get").status == 200) }
    }
}
