package router

import (
	"fmt"
	"strings"
	"time"

	"ringway/events"
)

const corpusHost = "Host: example.org\r\nX-Key: {key}\r\n"

// sized is an answer of known length.
func sized(status, fields, body string) string {
	return fmt.Sprintf("HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s", status, fields, len(body), body)
}

// corpusForwarded are requests that reach a member, in every form.
func corpusForwarded() (all []exchange) {
	bodies := []struct{ name, fields, body string }{
		{"no body", "", ""},
		{"length 0", "Content-Length: 0\r\n", ""},
		{"length 5", "Content-Length: 5\r\nContent-Type: text/plain\r\n", "hello"},
		{"chunks", "Transfer-Encoding: chunked\r\n", "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"},
		{"no chunks", "transfer-encoding: Chunked\r\n", "0\r\n\r\n"},
		{"extended chunks", "Transfer-Encoding: chunked\r\n", "2;a=b\r\nhe\r\n0003\r\nllo\r\n0;x\r\n\r\n"},
		{"trailer", "Trailer: X-Role, X-Two\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nX-Role: admin\r\nX-Two: 2\r\n\r\n"},
		{"unannounced trailer", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nX-Role: admin\r\n\r\n"},
	}
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PURGE"} {
		for _, b := range bodies {
			for _, proto := range []string{"1.1", "1.0"} {
				all = append(all, exchange{
					name: fmt.Sprintf("%s, HTTP/%s, %s", method, proto, b.name),
					sent: []string{method + " /home?x=1 HTTP/" + proto + "\r\n" + corpusHost + b.fields + "\r\n" + b.body},
				})
			}
		}
	}
	for _, target := range []string{
		"/", "/a%2Fb//c/../d?x=1&y=%20", "//host/path", "/a?b?c", "/%zz", "/ü", "http://other.example/x/../y?z", "https://other.example", "HTTP://u:p@other.example:81/x", "*",
		"/" + strings.Repeat("long", 1000),
	} {
		all = append(all, exchange{name: "target " + target[:min(len(target), 40)], sent: []string{"GET " + target + " HTTP/1.1\r\n" + corpusHost + "\r\n"}})
	}
	all = append(all,
		exchange{name: "OPTIONS *", sent: []string{"OPTIONS * HTTP/1.1\r\n" + corpusHost + "\r\n"}},
		exchange{name: "HTTP/1.0 without Host", sent: []string{"GET /home HTTP/1.0\r\nX-Key: {key}\r\n\r\n"}},
		exchange{name: "HTTP/1.0 keep-alive", sent: []string{"GET /home HTTP/1.0\r\nConnection: keep-alive\r\n" + corpusHost + "\r\nGET /2 HTTP/1.0\r\n" + corpusHost + "\r\n"}},
		exchange{name: "lines end with LF", sent: []string{"GET /home HTTP/1.1\nHost: example.org\nX-Key: {key}\n\n"}},
		exchange{name: "empty lines first", sent: []string{"\r\n\r\nGET /home HTTP/1.1\r\n" + corpusHost + "\r\n"}},
		exchange{name: "lower case names", sent: []string{"GET /home HTTP/1.1\r\nhost: example.org\r\nx-key: {key}\r\nx-other-name: 1\r\nETAG: 2\r\n\r\n"}},
		exchange{name: "body of 10 KB", sent: []string{"POST /home HTTP/1.1\r\n" + corpusHost + "Content-Length: 10000\r\n\r\n" + strings.Repeat("x", 10000)}},
		exchange{name: "body of 1 MB", sent: []string{"POST /home HTTP/1.1\r\nConnection: close\r\n" + corpusHost + "Content-Length: 1000000\r\n\r\n" + strings.Repeat("x", 1e6)}},
		exchange{name: "body of 1 MB in a chunk", sent: []string{"PUT /home HTTP/1.1\r\nConnection: close\r\n" + corpusHost + "Transfer-Encoding: chunked\r\n\r\nf4240\r\n" + strings.Repeat("x", 1e6) + "\r\n0\r\n\r\n"}},
		exchange{name: "Expect", sent: []string{"POST /home HTTP/1.1\r\n" + corpusHost + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"}},
		exchange{name: "Expect of chunks", sent: []string{"POST /home HTTP/1.1\r\n" + corpusHost + "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"}},
		exchange{name: "Expect without a body", sent: []string{"GET /home HTTP/1.1\r\n" + corpusHost + "Expect: 100-continue\r\n\r\n"}},
		exchange{name: "Expect something else", sent: []string{"POST /home HTTP/1.1\r\n" + corpusHost + "Expect: miracles\r\nContent-Length: 5\r\n\r\nhello"}},
		exchange{name: "Expect of HTTP/1.0", sent: []string{"POST /home HTTP/1.0\r\n" + corpusHost + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"}},
		exchange{name: "multipart", sent: []string{"POST /home HTTP/1.1\r\n" + corpusHost + "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 48\r\n\r\n--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n"}},
		exchange{name: "declared path", sent: []string{"GET /home HTTP/1.1\r\n" + corpusHost + "\r\n"}, route: declared},
		exchange{name: "declared path with a query", sent: []string{"GET /home?/x HTTP/1.1\r\n" + corpusHost + "\r\n"}, route: declared},
	)
	return all
}

func declared(r *events.Route) { r.Paths = []string{"/home", "/status"} }

// corpusFields are header fields that routers drop, change or add.
func corpusFields() (all []exchange) {
	trusting := func(c *Config) { c.Proxy.TrustForwarded = true }
	for _, f := range []string{
		"Connection: keep-alive\r\n", "Connection: close\r\n", "Connection: Keep-Alive, close\r\n", "Connection:\r\n",
		"Connection: close, X-Hop\r\nX-Hop: 1\r\n", "Connection: X-Hop\r\nConnection: X-Two\r\nX-Hop: 1\r\nX-Two: 2\r\nX-Stays: 3\r\n",
		"Connection: x-hop ,, X-TWO\r\nX-Hop: 1\r\nX-Two: 2\r\n", "Connection: Host, Content-Length, Transfer-Encoding, Content-Type, Trailer\r\n",
		"Connection: X-Forwarded-For\r\nX-Forwarded-For: 1.1.1.1\r\n", "Connection: Cookie\r\nCookie: a=1\r\n", "Connection: X-Key\r\n",
		"Keep-Alive: timeout=5\r\n", "Keep-Alive:\r\nKeep-Alive: timeout=5\r\n", "TE: trailers\r\n", "te:\r\nTE: trailers\r\n", "TE : trailers\r\n",
		"Proxy-Authorization: Basic x\r\n", "Proxy-Authorization:\r\nProxy-authorization: Basic x\r\n", "Proxy-Connection: keep-alive\r\n", "Proxy-Authenticate: Basic\r\n",
		"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: x\r\n", "Upgrade:\r\nUpgrade: h2c\r\n", "Upgrade: h2c, websocket\r\n",
		"Trailer: X-Role\r\nX-Role: admin\r\n", "Trailer: Host\r\n", "Trailer:\r\n",
		"Cookie: a=1; b=\"2\"\r\n", "Cookie: a=1\r\nCookie: b=2\r\n", "X-Twice: 1\r\nX-Twice: 2\r\n", "X-Empty:\r\n", "X-Space:  a  b  \r\n",
		"Authorization: Bearer x\r\nAccept: */*\r\nUser-Agent: test\r\nAccept-Encoding: gzip\r\n", "Content-Type: application/json\r\n",
		"Server: x\r\nDate: yesterday\r\n", "Range: bytes=0-1\r\nIf-None-Match: \"1\"\r\n", "X-Ringway-Key: 1\r\n",
		"X-Forwarded-For: 1.1.1.1\r\n", "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2, 3.3.3.3\r\n", "X-Forwarded-For:\r\n",
		"X-Forwarded-For: " + strings.Repeat("1.1.1.1, ", 50) + "2.2.2.2\r\n",
		"X-Forwarded-Proto: https\r\n", "X-Forwarded-Host: evil\r\nX-Forwarded-Host: worse\r\n", "X-Forwarded-Proto: https\r\nX-Forwarded-Host: www\r\nX-Forwarded-Port: 443\r\n",
		"Forwarded: for=1.1.1.1\r\n", "Via: 1.1 x\r\n",
	} {
		name := strings.Join(strings.Split(strings.TrimSpace(f), "\r\n"), " | ")
		name = name[:min(len(name), 100)]
		all = append(all, exchange{name: name, sent: []string{"GET /home HTTP/1.1\r\n" + corpusHost + f + "\r\n"}})
		if strings.HasPrefix(f, "X-Forwarded") {
			all = append(all,
				exchange{name: "trusted " + name, sent: []string{"GET /home HTTP/1.1\r\n" + corpusHost + f + "\r\n"}, tune: trusting},
				exchange{name: "of HTTP/1.0 " + name, sent: []string{"GET /home HTTP/1.0\r\n" + corpusHost + f + "\r\n"}},
			)
		}
	}
	return all
}

// corpusRefused are requests that reach no member.
func corpusRefused() (all []exchange) {
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
	for i, raw := range []string{
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n" + smuggled,
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nContent-Length: 5\r\n\r\nhello" + smuggled,
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello" + smuggled,
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\nhello" + smuggled,
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhello" + smuggled,
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n" + smuggled,
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x5\r\n\r\nhello" + smuggled,
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\nhello" + smuggled,
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\nhello" + smuggled,
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\nhello" + smuggled,
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + smuggled,
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + smuggled,
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n" + smuggled,
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello" + smuggled,
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + smuggled,
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n" + smuggled,
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n" + smuggled,
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf",
		"POST / HTTP/1.1\r\nHost: h\r\nTrailer: X-Forwarded-For\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\n folded: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nX Y: 1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", "GET http:///x HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET nonsense HTTP/1.1\r\nHost: h\r\n\r\n", "rubbish\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "GET / HTTP/1.1 extra\r\nHost: h\r\n\r\n", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET / http/1.1\r\nHost: h\r\n\r\n", "GET /\r\n\r\n", "get / HTTP/1.1\r\nHost: h\r\n\r\n", "G@T / HTTP/1.1\r\nHost: h\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"GET / HTTP/1.2\r\nHost: h\r\n\r\n", "GET / HTTP/0.9\r\nHost: h\r\n\r\n", "GET / HTTP/2.0\r\nHost: h\r\n\r\n", "GET / HTTP/1.10\r\nHost: h\r\n\r\n",
		"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n" + smuggled, "TRACE / HTTP/1.0\r\nHost: h\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\n", "GET / HT", "",
	} {
		name := strings.ReplaceAll(raw, "\r\n", "|")
		all = append(all, exchange{name: fmt.Sprintf("%d: %.90q", i, name), sent: []string{raw}})
	}
	return append(all,
		exchange{name: "header too long", sent: []string{"GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 1<<17) + "\r\n\r\n"}},
		exchange{name: "target too long", sent: []string{"GET /" + strings.Repeat("x", 1<<17) + " HTTP/1.1\r\nHost: h\r\n\r\n"}},
		exchange{name: "body too long", sent: []string{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n"}},
		exchange{name: "body too long, sent", sent: []string{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 12000000\r\n\r\n" + strings.Repeat("x", 12_000_000)}},
		exchange{name: "chunk too long", sent: []string{"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n" + strings.Repeat("x", 0xffffff) + "\r\n0\r\n\r\n"}},
		exchange{name: "body too long, expected", sent: []string{"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"}},
		exchange{name: "undeclared path", sent: []string{"GET /other HTTP/1.1\r\nHost: h\r\n\r\n"}, route: declared},
		exchange{name: "undeclared path, body", sent: []string{"POST /x/../home?x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"}, route: declared},
		exchange{name: "undeclared path, HEAD", sent: []string{"HEAD /other HTTP/1.1\r\nHost: h\r\n\r\n"}, route: declared},
		exchange{name: "undeclared path, HTTP/1.0", sent: []string{"GET /other HTTP/1.0\r\n\r\n"}, route: declared},
	)
}

// corpusAnswers are the forms of a member's answer.
func corpusAnswers() (all []exchange) {
	const chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	answers := []struct{ name, answer string }{
		{"length 2", okAnswer}, {"length 0", sized("200 OK", "", "")}, {"404", sized("404 Not Found", "Content-Type: text/plain\r\n", "nothing")},
		{"500", sized("500 Oh no", "Retry-After: 5\r\n", "x")}, {"201 without a reason", sized("201 ", "Location: /x\r\n", "x")}, {"299", sized("299 Odd", "", "x")}, {"999", sized("999 Odd", "", "x")},
		{"204", "HTTP/1.1 204 No Content\r\n\r\n"}, {"204 with length", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"}, {"304", "HTTP/1.1 304 Not Modified\r\nEtag: \"1\"\r\n\r\n"}, {"304 with length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n"},
		{"chunks", chunks + "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"}, {"no chunks", chunks + "0\r\n\r\n"}, {"extended chunks", chunks + "2;x=y\r\nhe\r\n0\r\n\r\n"},
		{"trailer", "HTTP/1.1 200 OK\r\nTrailer: X-End\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\nX-End: 1\r\n\r\n"},
		{"chunks and length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\n\r\n"},
		{"interim answers", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + okAnswer}, {"nine interim answers", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 9) + okAnswer},
		{"101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n" + okAnswer},
		{"hop-by-hop fields", sized("200 OK", "Connection: X-Secret, keep-alive\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nTrailer: X\r\nTe: x\r\n", "ok")},
		{"doubled fields", sized("200 OK", "Keep-Alive:\r\nKeep-Alive: timeout=5\r\nConnection:\r\nConnection: X-Back\r\nX-Back: 1\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nX-Twice: 1\r\nX-Twice: 2\r\n", "ok")},
		{"close", sized("200 OK", "Connection: close\r\n", "ok")}, {"Server and Date", sized("200 OK", "Server: replica/1\r\nDate: Mon, 02 Jan 2006 15:04:05 GMT\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\n", "ok")},
		{"lower case names", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-some-name: 1\r\n\r\nok"}, {"lines end with LF", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"},
		{"more than its length", okAnswer + "more"}, {"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"}, {"different lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"},
		{"bad length", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok"}, {"not HTTP", "what?\r\n\r\n"}, {"bad status", "HTTP/1.1 abc OK\r\n\r\n"}, {"bad chunk", chunks + "zz\r\nhe\r\n0\r\n\r\n"},
		{"folded field", sized("200 OK", "X: a\r\n b\r\n", "ok")}, {"no colon", sized("200 OK", "what\r\n", "ok")}, {"header too long", sized("200 OK", "X: "+strings.Repeat("x", 20000)+"\r\n", "ok")},
		{"64 KB", sized("200 OK", "", strings.Repeat("x", 64<<10))},
	}
	asks := []struct{ name, request string }{
		{"GET", "GET /home HTTP/1.1\r\n"}, {"HEAD", "HEAD /home HTTP/1.1\r\n"}, {"POST", "POST /home HTTP/1.1\r\nContent-Length: 1\r\n"}, {"HTTP/1.0", "GET /home HTTP/1.0\r\n"},
	}
	for _, a := range answers {
		for _, q := range asks {
			body, answer := "", a.answer
			if q.name == "POST" {
				body = "x"
			}
			if q.name == "HEAD" {
				answer = headOnly(a.answer)
			}
			steps := []string{answer}
			if a.name == "lines end with LF" || a.name == "different lengths" { // more is awaited
				steps = append(steps, stepEnd)
			}
			all = append(all, exchange{name: q.name + ": " + a.name, sent: []string{q.request + corpusHost + "\r\n" + body}, first: script{steps}})
		}
	}
	ends := []struct{ name, answer string }{
		{"until close", "HTTP/1.1 200 OK\r\n\r\nall of it"}, {"HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nall of it"}, {"HTTP/1.0 with length", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"},
		{"identity", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nall of it"}, {"half a header", "HTTP/1.1 200 OK\r\nContent-Len"}, {"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"},
		{"half a chunk", chunks + "64\r\nhalf"}, {"no last chunk", chunks + "4\r\nhalf\r\n"}, {"no end of the trailer", chunks + "4\r\nhalf\r\n0\r\nX: y\r\n"}, {"nothing", ""}, {"interim only", "HTTP/1.1 103 Early Hints\r\n\r\n"},
	}
	for _, e := range ends {
		for _, q := range []string{"GET /home HTTP/1.1\r\n", "POST /home HTTP/1.1\r\n", "GET /home HTTP/1.0\r\n"} {
			all = append(all, exchange{name: "ends after " + e.name + ": " + strings.TrimSpace(q), sent: []string{q + corpusHost + "\r\n"}, first: script{{e.answer, stepEnd}}, parts: true})
		}
	}
	small := func(c *Config) { c.Proxy.MaxBuffer = 16 }
	long := strings.Repeat("0123456789", 30_000)
	for _, q := range asks[:1:1] {
		all = append(all,
			exchange{name: "streamed by length", sent: []string{q.request + corpusHost + "\r\n"}, first: script{{sized("200 OK", "", long)}}},
			exchange{name: "streamed by length, breaks off", sent: []string{q.request + corpusHost + "\r\n"}, first: script{{"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + strings.Repeat("x", 50), stepEnd}}, tune: small},
			exchange{name: "streamed by chunks", sent: []string{q.request + corpusHost + "\r\n"}, first: script{{chunks + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(long), long)}}, parts: true},
			exchange{name: "streamed by chunks, trailer", sent: []string{q.request + corpusHost + "\r\n"}, first: script{{chunks + fmt.Sprintf("%x\r\n%s\r\n0\r\nX-End: 1\r\n\r\n", len(long), long)}}, parts: true},
			exchange{name: "streamed by chunks, breaks off", sent: []string{q.request + corpusHost + "\r\n"}, first: script{{chunks + "64\r\n" + strings.Repeat("x", 50), stepEnd}}, tune: small, parts: true},
			exchange{name: "streamed to the end", sent: []string{q.request + corpusHost + "\r\n"}, first: script{{"HTTP/1.1 200 OK\r\n\r\n" + long, stepEnd}}, parts: true},
			exchange{name: "streamed, then kept", sent: []string{q.request + corpusHost + "\r\n" + q.request + corpusHost + "\r\n"}, first: script{{sized("200 OK", "", long), okAnswer}}},
			exchange{name: "streamed to HTTP/1.0", sent: []string{"GET /home HTTP/1.0\r\n" + corpusHost + "\r\n"}, first: script{{chunks + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(long), long)}}},
			exchange{name: "too long for HTTP/1.0", sent: []string{"GET /home HTTP/1.0\r\n" + corpusHost + "\r\n"}, first: script{{chunks + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(long), long)}}, tune: func(c *Config) { c.Proxy.MaxOld = 1000 }},
		)
	}
	return append(all, exchange{name: "late", sent: []string{"GET /home HTTP/1.1\r\n" + corpusHost + "\r\n"}, first: script{{stepHold}},
		route: func(r *events.Route) { r.Timeout = events.Duration(50 * time.Millisecond) }},
		exchange{name: "late within the answer", sent: []string{"GET /home HTTP/1.1\r\n" + corpusHost + "\r\n"}, first: script{{"HTTP/1.1 200 OK\r\nContent-Le", stepHold}},
			route: func(r *events.Route) { r.Timeout = events.Duration(50 * time.Millisecond) }})
}

// headOnly is an answer to HEAD: what follows the header would be another one.
func headOnly(answer string) string {
	if i := strings.LastIndex(answer, "\r\n\r\n"); i >= 0 && !strings.Contains(answer, "chunked") {
		return answer[:i+4]
	}
	head, _, _ := strings.Cut(answer, "\r\n\r\n")
	return head + "\r\n\r\n"
}

// corpusRepeated are requests that a member did not answer.
func corpusRepeated() (all []exchange) {
	request := func(method string) string {
		if method == "GET" || method == "DELETE" {
			return method + " /home HTTP/1.1\r\n" + corpusHost + "\r\n"
		}
		return method + " /home HTTP/1.1\r\n" + corpusHost + "Content-Length: 4\r\n\r\nbody"
	}
	for _, method := range []string{"GET", "PUT", "DELETE", "OPTIONS", "POST", "PATCH"} {
		one := request(method)
		f := func(name string, first, second script) {
			all = append(all, exchange{name: method + ": " + name, sent: []string{one}, first: first, second: second})
		}
		f("refused", script{{stepOff}}, nil)
		f("refused by both", script{{stepOff}}, script{{stepOff}})
		f("reset", script{{stepHold, stepReset}}, nil)
		f("ended", script{{stepHold, stepEnd}}, nil)
		f("ended in the header", script{{"HTTP/1.1 200 OK\r\nContent-Len", stepEnd}}, nil)
		f("ended in the body", script{{"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", stepEnd}}, nil)
		f("reset by both", script{{stepHold, stepReset}}, script{{stepHold, stepReset}})
		f("ended by one, refused by the other", script{{stepHold, stepEnd}}, script{{stepOff}})
		f("not HTTP", script{{"what?\r\n\r\n"}}, nil)
		f("answered before it was asked", script{{stepNow + okAnswer, stepHold}}, nil)
		all = append(all,
			exchange{name: method + ": kept connection ended before", sent: []string{one, one}, first: script{{okAnswer, stepEnd}}},
			exchange{name: method + ": kept connection ended before, twice", sent: []string{one, one, one}, first: script{{okAnswer, stepEnd}, {okAnswer, stepEnd}}},
			exchange{name: method + ": kept connection was reset before", sent: []string{one, one}, first: script{{okAnswer, stepReset}}},
			exchange{name: method + ": kept connection had an unasked answer", sent: []string{one, one}, first: script{{okAnswer + "HTTP/1.1 408 Request Timeout\r\n\r\n", stepEnd}}},
			exchange{name: method + ": kept connection ended, and then nobody listens", sent: []string{one + one}, first: script{{okAnswer, stepHold, stepEnd}, {stepHold, stepEnd}}},
			exchange{name: method + ": kept connection reset at the request", sent: []string{one + one}, first: script{{okAnswer, stepHold, stepReset}}},
			exchange{name: method + ": kept connection ended at the request", sent: []string{one + one}, first: script{{okAnswer, stepHold, stepEnd}}},
			exchange{name: method + ": kept connection ended at the request, and the next", sent: []string{one + one}, first: script{{okAnswer, stepHold, stepEnd}, {stepHold, stepReset}}},
			exchange{name: method + ": kept connection ended in the header", sent: []string{one + one}, first: script{{okAnswer, "HTTP/1.1 200", stepEnd}}},
			exchange{name: method + ": kept connection closed by its answer", sent: []string{one + one}, first: script{{sized("200 OK", "Connection: close\r\n", "ok"), stepHold}}},
			exchange{name: method + ": no retry left", sent: []string{one}, first: script{{stepHold, stepReset}}, tune: func(c *Config) { c.Proxy.RetryBurst = 0 }},
		)
	}
	return all
}

// corpusPipelined are requests that follow each other on one connection.
func corpusPipelined() []exchange {
	get := func(path string) string { return "GET " + path + " HTTP/1.1\r\n" + corpusHost + "\r\n" }
	post := "POST /p HTTP/1.1\r\n" + corpusHost + "Content-Length: 2\r\n\r\nhi"
	return []exchange{
		{name: "three", sent: []string{get("/1") + get("/2") + get("/3")}},
		{name: "fields do not stay", sent: []string{"GET /1 HTTP/1.1\r\nX-Only: one\r\nCookie: a=1\r\n" + corpusHost + "\r\n" + get("/2") + post}},
		{name: "answers of different forms", sent: []string{get("/1") + "HEAD /2 HTTP/1.1\r\n" + corpusHost + "\r\n" + get("/3") + post + get("/4")},
			first: script{{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n", sized("500 Oh no", "", "x"), okAnswer}}},
		{name: "close in the middle", sent: []string{get("/1") + "GET /2 HTTP/1.1\r\nConnection: close\r\n" + corpusHost + "\r\n" + get("/3")}},
		{name: "HTTP/1.0 in the middle", sent: []string{get("/1") + "GET /2 HTTP/1.0\r\n" + corpusHost + "\r\n" + get("/3")}},
		{name: "rubbish in the middle", sent: []string{get("/1") + "rubbish\r\n\r\n" + get("/3")}},
		{name: "without Host in the middle", sent: []string{get("/1") + "GET /2 HTTP/1.1\r\n\r\n" + get("/3")}},
		{name: "undeclared in the middle", sent: []string{get("/home") + get("/2") + get("/home")}, route: declared},
		{name: "the router's own in the middle", sent: []string{get("/1") + get("/rep") + get("/3")}},
		{name: "Expect in the middle", sent: []string{get("/1") + "POST /2 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n" + corpusHost + "\r\nhi" + get("/3")}},
		{name: "chunks in the middle", sent: []string{get("/1") + "POST /2 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + corpusHost + "\r\n2\r\nhi\r\n0\r\n\r\n" + get("/3")}},
		{name: "method not forwarded in the middle", sent: []string{get("/1") + "TRACE /2 HTTP/1.1\r\n" + corpusHost + "\r\n" + get("/3")}},
		{name: "member closes each", sent: []string{get("/1") + get("/2") + post},
			first: script{{sized("200 OK", "Connection: close\r\n", "ok"), stepEnd}, {sized("200 OK", "Connection: close\r\n", "ok"), stepEnd}}},
		{name: "unix", sent: []string{get("/1") + "GET /2 HTTP/1.1\r\nX-Forwarded-For: 1.1.1.1\r\n" + corpusHost + "\r\n" + post}, tune: func(c *Config) { c.Public[0] = corpusUnix(c) }},
		{name: "unix, refused", sent: []string{"GET / HTTP/1.1\r\n\r\n"}, tune: func(c *Config) { c.Public[0] = corpusUnix(c) }},
	}
}

// corpusOwn are requests that the router answers itself.
func corpusOwn() (all []exchange) {
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE"} {
		for _, path := range []string{"/rep", "/add", "/rm", "/init", "/status", "/read", "/write", "/update", "/del", "/primary_elect", "/read/Server0", "/v1/ops/x"} {
			body := ""
			if method != "GET" && method != "HEAD" {
				body = `{"n":0}`
			}
			all = append(all, exchange{name: method + " " + path, route: func(r *events.Route) { r.Paths = []string{"/home"} },
				sent: []string{fmt.Sprintf("%s %s?x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body)}})
		}
	}
	for _, body := range []string{"", "{", "null", "[3]", `{"n":1}x`, `{"hostnames":["a"]}`, `{"n":"1"}`, `{"n":1.5}`, `{"n":3,"hostnames":"S5"}`, `{"n":3,"hostnames":[4]}`, `{"n":1,"hostnames":["a","b"]}`, `{"n":-1}`, `{"n":3,"servers":{}}`, `{"n":1,"x":"` + strings.Repeat("x", 2<<20) + `"}`} {
		all = append(all, exchange{name: fmt.Sprintf("/add %.40s", body), sent: []string{fmt.Sprintf("POST /add HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)}})
	}
	return append(all,
		exchange{name: "/rep of HTTP/1.0", sent: []string{"GET /rep HTTP/1.0\r\n\r\n"}},
		exchange{name: "/rep without a leader", sent: []string{"POST /add HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\n{\"n\":1}"}, tune: func(c *Config) { c.NoLeader = time.Millisecond }},
		exchange{name: "declared /status", sent: []string{"GET /status HTTP/1.1\r\n" + corpusHost + "\r\n"}, route: declared},
		exchange{name: "/status of a service that declares nothing", sent: []string{"GET /status HTTP/1.1\r\n" + corpusHost + "\r\n"}},
	)
}
