package load

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

const maxAnswer = 4 << 10 // bytes

// client is one connection's share of the work: a request is put together in
// one piece, and an answer is looked at for no more than shows where it ends
// and whether it is the right one. It is for servers that send
// Content-Length, written so or all in small letters; anything else is an error.
type client struct {
	socket     int
	path, head string
	body       func(to []byte, key int64) []byte
	want       []byte

	key              int64 // of the op that is open
	since            time.Time
	payload, request []byte
	answer           []byte
	have, need       int // bytes of the answer; need is 0 while it is not known
}

// newClient makes one that posts what body makes of a key, or, without a body,
// gets path with the key in a header.
func newClient(path string, body func(to []byte, key int64) []byte, want string) *client {
	c := &client{path: path, body: body, want: []byte(want), answer: make([]byte, maxAnswer)}
	if c.head = "POST " + path + " HTTP/1.1\r\nHost: ringway\r\nContent-Type: application/json\r\nContent-Length: "; body == nil {
		c.head = "GET " + path + " HTTP/1.1\r\nHost: ringway\r\n" + KeyHeader + ": "
	}
	return c
}

// KeyHeader carries what a proxy hashes.
const KeyHeader = "X-Ringway-Key"

// ask is the request of the next op.
func (c *client) ask(key int64) []byte {
	c.key, c.have, c.need = key, 0, 0
	if c.body == nil {
		c.request = append(strconv.AppendInt(append(c.request[:0], c.head...), key, 10), "\r\n\r\n"...)
		return c.request
	}
	c.payload = c.body(c.payload[:0], key)
	c.request = strconv.AppendInt(append(c.request[:0], c.head...), int64(len(c.payload)), 10)
	c.request = append(append(c.request, "\r\n\r\n"...), c.payload...)
	return c.request
}

// free is where the next bytes of the answer belong.
func (c *client) free() []byte { return c.answer[c.have:] }

// came reports whether the answer is whole, now that n more bytes of it are in
// the free part.
func (c *client) came(n int) (done bool, err error) {
	if n == 0 {
		return false, c.failed(fmt.Errorf("the end of it after %q", c.answer[:c.have]))
	}
	c.have += n
	if c.need == 0 {
		if c.need, err = whole(c.answer[:c.have]); err != nil {
			return false, c.failed(fmt.Errorf("%w in %q", err, c.answer[:c.have]))
		}
	}
	switch {
	case c.need > len(c.answer), c.need == 0 && c.have == len(c.answer):
		return false, c.failed(fmt.Errorf("an answer of more than %d bytes", len(c.answer)))
	case c.need == 0 || c.have < c.need:
		return false, nil
	case c.have > c.need:
		return false, c.failed(fmt.Errorf("an answer of %d bytes too many", c.have-c.need))
	}
	answer := c.answer[:c.need]
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) || !bytes.Contains(answer, c.want) {
		return false, c.failed(fmt.Errorf("%s", answer))
	}
	return true, nil
}

func (c *client) failed(err error) error { return fmt.Errorf("%s of key %d: %w", c.path, c.key, err) }

// whole is the size of the answer that begins with head; 0: that is not known
// from it.
func whole(head []byte) (int, error) {
	end := bytes.Index(head, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, nil
	}
	const field, haproxys = "\r\nContent-Length: ", "\r\ncontent-length: "
	at := bytes.Index(head[:end], []byte(field))
	if at < 0 {
		at = bytes.Index(head[:end], []byte(haproxys))
	}
	if at < 0 {
		return 0, fmt.Errorf("no Content-Length")
	}
	length, _, _ := bytes.Cut(head[at+len(field):], []byte("\r\n"))
	n, err := strconv.ParseUint(string(length), 10, 16)
	return end + 4 + int(n), err
}
