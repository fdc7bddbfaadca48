package edge

import (
	"bytes"

	"github.com/valyala/fasthttp"
)

// Fields that concern one connection only (RFC 9110, 7.6.1) are not passed on,
// in either direction, nor are those that Connection names.
var (
	hopByHop       = []string{"Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Te", "Upgrade", "Expect", "Http2-Settings"}
	hopByHopAnswer = []string{"Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Upgrade", "Trailer"}
)

// Fields is the kinds of a message's header fields that concern the connection
// or the framing. Most messages have none, and to see that takes one pass.
type Fields uint8

const (
	fieldConnection Fields = 1 << iota // Connection, which names others
	fieldHopByHop                      // concern one connection only
	fieldUpgrade                       // so does Upgrade
	fieldFraming                       // where the message ends; fasthttp has interpreted and forgotten them by now
)

type knownField struct {
	name []byte
	what Fields
}

// knownFields are all that are known, by the length of their names.
var knownFields = func() (all [20][]knownField) {
	for name, what := range map[string]Fields{
		"Connection": fieldConnection, "Upgrade": fieldUpgrade, "Transfer-Encoding": fieldFraming, "Trailer": fieldFraming,
		"Keep-Alive": fieldHopByHop, "Proxy-Connection": fieldHopByHop, "Proxy-Authorization": fieldHopByHop, "Proxy-Authenticate": fieldHopByHop,
		"Te": fieldHopByHop, "Expect": fieldHopByHop, "Http2-Settings": fieldHopByHop,
	} {
		all[len(name)] = append(all[len(name)], knownField{[]byte(name), what})
	}
	return all
}()

func fieldOf(name []byte) Fields {
	if len(name) >= len(knownFields) {
		return 0
	}
	for i := range knownFields[len(name)] {
		if f := &knownFields[len(name)][i]; bytes.EqualFold(name, f.name) {
			return f.what
		}
	}
	return 0
}

// scanFields looks at header lines as they came, whatever their values are.
func scanFields(raw []byte) (found Fields) {
	for len(raw) > 0 {
		line := raw
		if i := bytes.IndexByte(raw, '\n'); i >= 0 {
			line, raw = raw[:i], raw[i+1:]
		} else {
			raw = nil
		}
		name := line[:max(bytes.IndexByte(line, ':'), 0)]
		for len(name) > 0 && (name[len(name)-1] == ' ' || name[len(name)-1] == '\t') {
			name = name[:len(name)-1]
		}
		found |= fieldOf(name)
	}
	return found
}

// StripRequest deletes the fields of a request that end here. The server has
// noted already whether the client wants to close.
func StripRequest(h *fasthttp.RequestHeader, found Fields) {
	h.ResetConnectionClose()
	if found&fieldConnection != 0 {
		deleteNamed(h.PeekAll(fasthttp.HeaderConnection), h.Del) // Slow path
		h.Del(fasthttp.HeaderConnection)
	}
	if found&(fieldHopByHop|fieldUpgrade) != 0 { // Slow path
		for _, name := range hopByHop {
			h.Del(name)
		}
	}
}

// StripAnswer does the same for an answer to a client.
func StripAnswer(resp *fasthttp.Response) {
	h := &resp.Header
	h.ResetConnectionClose()
	var found Fields
	for name := range h.All() {
		found |= fieldOf(name)
	}
	if found != 0 { // Slow path
		deleteNamed(h.PeekAll(fasthttp.HeaderConnection), h.Del)
		h.Del(fasthttp.HeaderConnection)
		for _, name := range hopByHopAnswer {
			h.Del(name)
		}
	}
	if !h.IsHTTP11() || len(h.Protocol()) == 0 {
		h.SetProtocol(http11)
	}
}

// deleteNamed deletes the fields that Connection names, except those without
// which the message would become another one.
func deleteNamed(connection [][]byte, del func(string)) {
	var names []string // copied: deleting moves what connection points at
	for _, v := range connection {
		if bytes.EqualFold(v, keepAlive) {
			continue // what most clients send; it must not allocate
		}
		for name := range bytes.SplitSeq(v, []byte(",")) {
			names = append(names, string(bytes.TrimSpace(name)))
		}
	}
	for _, name := range names {
		switch name := string(bytes.ToLower([]byte(name))); name {
		case "", "close", "keep-alive", "host", "content-length", "transfer-encoding", "content-type", "trailer":
		default:
			del(name)
		}
	}
}

var (
	http11    = []byte("HTTP/1.1")
	keepAlive = []byte("keep-alive")
)
