package router

import "bytes"

// fieldKinds is what header fields are about that ask for a further look. Most
// messages have none, and to see that takes one pass over them.
type fieldKinds uint8

const (
	fieldConnection fieldKinds = 1 << iota // Connection, which names others
	fieldHopByHop                          // concern one connection only
	fieldUpgrade                           // so does Upgrade
	fieldFraming                           // where the message ends; fasthttp has interpreted and forgotten them by now
)

type knownField struct {
	name []byte
	what fieldKinds
}

// knownFields are all that are known, by the length of their names.
var knownFields = func() (all [20][]knownField) {
	for name, what := range map[string]fieldKinds{
		"Connection": fieldConnection, "Upgrade": fieldUpgrade, "Transfer-Encoding": fieldFraming, "Trailer": fieldFraming,
		"Keep-Alive": fieldHopByHop, "Proxy-Connection": fieldHopByHop, "Proxy-Authorization": fieldHopByHop, "Proxy-Authenticate": fieldHopByHop,
		"Te": fieldHopByHop, "Expect": fieldHopByHop, "Http2-Settings": fieldHopByHop,
	} {
		all[len(name)] = append(all[len(name)], knownField{[]byte(name), what})
	}
	return all
}()

func kindOfField(name []byte) fieldKinds {
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

// kindsOfFields looks at header lines as they came, whatever their values are.
func kindsOfFields(raw []byte) (found fieldKinds) {
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
		found |= kindOfField(name)
	}
	return found
}
