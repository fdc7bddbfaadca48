package proxy

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"

	"github.com/valyala/fasthttp"
	"github.com/zeebo/xxh3"

	"ringway/events"
	"ringway/router/edge"
)

// keySource is a compiled events.KeySource.
type keySource struct {
	from byte
	name string
}

const (
	fromHeader = iota
	fromCookie
	fromQuery
	fromPath
	fromAddress
)

func newKeySource(k events.KeySource) (keySource, error) {
	from := map[string]byte{"header": fromHeader, "cookie": fromCookie, "query": fromQuery, "path": fromPath, "address": fromAddress}
	code, ok := from[k.From]
	if !ok {
		return keySource{}, fmt.Errorf("key.from: %q is unknown; use header, cookie, query, path or address", k.From)
	}
	if k.Name == "" && code <= fromQuery {
		return keySource{}, fmt.Errorf("key.name: missing; name the %s", k.From)
	}
	return keySource{from: code, name: k.Name}, nil
}

// hash of the request's key; random for a request without one, as is the
// address of a client on a Unix socket.
func (k *keySource) hash(ctx *fasthttp.RequestCtx) uint64 {
	var key []byte
	switch k.from {
	case fromHeader:
		key = ctx.Request.Header.Peek(k.name)
	case fromCookie:
		key = cookie(ctx.Request.Header.Peek(fasthttp.HeaderCookie), k.name)
	case fromQuery:
		key = ctx.QueryArgs().Peek(k.name)
	case fromPath:
		key = edge.Path(&ctx.Request.Header)
	case fromAddress:
		if tcp, ok := ctx.RemoteAddr().(*net.TCPAddr); ok {
			key = tcp.IP
			if v4 := tcp.IP.To4(); v4 != nil {
				key = v4
			}
		}
	}
	if len(key) == 0 {
		return rand.Uint64()
	}
	return xxh3.Hash(key)
}

// cookie finds one cookie in the header as it came. fasthttp's own parser
// would write the header anew for the member.
func cookie(header []byte, name string) []byte {
	for len(header) > 0 {
		var pair []byte
		pair, header, _ = bytes.Cut(header, semicolon)
		pair = bytes.TrimSpace(pair)
		if len(pair) > len(name) && pair[len(name)] == '=' && string(pair[:len(name)]) == name {
			return pair[len(name)+1:]
		}
	}
	return nil
}

var semicolon = []byte{';'}
