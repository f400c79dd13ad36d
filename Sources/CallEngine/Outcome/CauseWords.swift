/// Causes and codes in words.
public enum CauseWords {
    /// A Q.850 cause, by its number (ITU-T Q.850 §2.2.7, as Asterisk's `causes.h` has them); one without a name is told by
    /// its number alone.
    public static func cause(_ number: UInt16) -> Words {
        guard let known = causes[number] else { return Words("cause \(number)", "причина \(number)") }
        return Words("\(known.english) (Q.850 \(number))", "\(known.russian) (Q.850 \(number))")
    }

    /// A SIP response code (RFC 3261 §21).
    public static func sip(_ code: UInt16) -> Words {
        guard let known = codes[code] else { return Words("SIP \(code)", "SIP \(code)") }
        return Words("\(known.english) (SIP \(code))", "\(known.russian) (SIP \(code))")
    }

    private static let causes: [UInt16: Words] = [
        1: Words("unallocated number", "номер не существует"),
        2: Words("no route to the transit network", "нет маршрута к транзитной сети"),
        3: Words("no route to the destination", "нет маршрута к абоненту"),
        6: Words("channel unacceptable", "канал недопустим"),
        7: Words("call delivered on an established channel", "вызов передан по установленному каналу"),
        16: Words("normal clearing", "обычное завершение"),
        17: Words("user busy", "абонент занят"),
        18: Words("no user responding", "абонент не отвечает на вызов"),
        19: Words("no answer", "абонент не снял трубку"),
        20: Words("subscriber absent", "абонент отсутствует в сети"),
        21: Words("call rejected", "вызов отклонён"),
        22: Words("number changed", "номер изменён"),
        23: Words("redirected to a new destination", "вызов переадресован"),
        26: Words("answered elsewhere", "ответили на другом телефоне"),
        27: Words("destination out of order", "аппарат абонента неисправен"),
        28: Words("invalid number format", "неверный формат номера"),
        29: Words("facility rejected", "услуга отклонена"),
        31: Words("normal, unspecified", "обычное завершение, без подробностей"),
        34: Words("no circuit available", "нет свободных линий"),
        38: Words("network out of order", "сеть неисправна"),
        41: Words("temporary failure", "временный сбой"),
        42: Words("switching equipment congested", "станция перегружена"),
        43: Words("access information discarded", "данные доступа отброшены"),
        44: Words("requested circuit not available", "запрошенная линия занята"),
        50: Words("facility not subscribed", "услуга не подключена"),
        52: Words("outgoing calls barred", "исходящие вызовы запрещены"),
        54: Words("incoming calls barred", "входящие вызовы запрещены"),
        57: Words("bearer capability not authorized", "вид связи не разрешён"),
        58: Words("bearer capability not available", "вид связи недоступен"),
        65: Words("bearer capability not implemented", "вид связи не поддерживается"),
        66: Words("channel type not implemented", "тип канала не поддерживается"),
        69: Words("facility not implemented", "услуга не поддерживается"),
        81: Words("invalid call reference", "неверная ссылка вызова"),
        88: Words("incompatible destination", "несовместимое оборудование"),
        95: Words("invalid message", "неверное сообщение"),
        96: Words("mandatory element missing", "нет обязательного элемента"),
        97: Words("unknown message type", "неизвестный тип сообщения"),
        98: Words("wrong message", "неуместное сообщение"),
        99: Words("unknown element", "неизвестный элемент"),
        100: Words("invalid element contents", "неверное содержимое элемента"),
        101: Words("wrong call state", "неверное состояние вызова"),
        102: Words("timer expired", "истекло время ожидания"),
        103: Words("mandatory element length error", "неверная длина элемента"),
        111: Words("protocol error", "ошибка протокола"),
        127: Words("interworking, unspecified", "сбой на стыке сетей"),
    ]

    private static let codes: [UInt16: Words] = [
        300: Words("multiple choices", "несколько вариантов"),
        301: Words("moved permanently", "переехал навсегда"),
        302: Words("moved temporarily", "переадресация"),
        400: Words("bad request", "неверный запрос"),
        401: Words("unauthorized", "нужна авторизация"),
        403: Words("forbidden", "запрещено"),
        404: Words("not found", "номер не найден"),
        405: Words("method not allowed", "метод не разрешён"),
        407: Words("proxy authentication required", "нужна авторизация на прокси"),
        408: Words("request timeout", "истекло время ожидания"),
        410: Words("gone", "номера больше нет"),
        415: Words("unsupported media type", "тип данных не поддерживается"),
        420: Words("bad extension", "расширение не поддерживается"),
        480: Words("temporarily unavailable", "временно недоступен"),
        481: Words("call does not exist", "такого вызова нет"),
        482: Words("loop detected", "вызов зациклен"),
        483: Words("too many hops", "слишком много переходов"),
        484: Words("address incomplete", "номер набран не полностью"),
        485: Words("ambiguous", "номер неоднозначен"),
        486: Words("busy here", "занято"),
        487: Words("request terminated", "вызов отменён"),
        488: Words("not acceptable here", "неприемлемо"),
        491: Words("request pending", "запрос уже выполняется"),
        500: Words("server error", "ошибка сервера"),
        501: Words("not implemented", "не поддерживается"),
        502: Words("bad gateway", "ошибка шлюза"),
        503: Words("service unavailable", "служба недоступна"),
        504: Words("server timeout", "сервер не ответил вовремя"),
        600: Words("busy everywhere", "занято везде"),
        603: Words("declined", "отклонено"),
        604: Words("does not exist anywhere", "номера нет нигде"),
        606: Words("not acceptable", "неприемлемо"),
    ]
}
