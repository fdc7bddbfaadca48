package router

import "bytes"

// oddity is what header fields are about that ask for a further look. Most
// messages have none, and to see that takes one pass over them.
type oddity uint8

const (
	ofConnection oddity = 1 << iota // Connection, which names others
	ofHop                           // concern one connection only
	ofUpgrade                       // so does Upgrade
	ofFraming                       // where the message ends; fasthttp has interpreted and forgotten them by now
)

type oddField struct {
	name []byte
	what oddity
}

// oddFields are all that are known, by the length of their names.
var oddFields = func() (all [20][]oddField) {
	for name, what := range map[string]oddity{
		"Connection": ofConnection, "Upgrade": ofUpgrade, "Transfer-Encoding": ofFraming, "Trailer": ofFraming,
		"Keep-Alive": ofHop, "Proxy-Connection": ofHop, "Proxy-Authorization": ofHop, "Proxy-Authenticate": ofHop,
		"Te": ofHop, "Expect": ofHop, "Http2-Settings": ofHop,
	} {
		all[len(name)] = append(all[len(name)], oddField{[]byte(name), what})
	}
	return all
}()

func oddityOf(name []byte) oddity {
	if len(name) >= len(oddFields) {
		return 0
	}
	for i := range oddFields[len(name)] {
		if f := &oddFields[len(name)][i]; bytes.EqualFold(name, f.name) {
			return f.what
		}
	}
	return 0
}

// oddLines looks at header lines as they came, whatever their values are.
func oddLines(raw []byte) (found oddity) {
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
		found |= oddityOf(name)
	}
	return found
}
