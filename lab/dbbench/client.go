package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// httpWorkers are clients with a connection each of a server at a base URL or
// unix:PATH. An answer has to contain want.
func httpWorkers(ctx context.Context, base string, n int, path string, body func(to []byte, key int64) []byte, want string) (workers []worker, release func(), err error) {
	network, address := "tcp", strings.TrimPrefix(base, "http://")
	if socket, ok := strings.CutPrefix(base, "unix:"); ok {
		network, address = "unix", socket
	}
	clients := make([]*client, 0, n)
	release = func() {
		for _, c := range clients {
			_ = c.conn.Close() // nothing is in flight
		}
	}
	for range n {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			release()
			return nil, nil, err
		}
		c := newClient(conn, path, body, want)
		clients = append(clients, c)
		workers = append(workers, c.do)
	}
	return workers, release, nil
}

const (
	patience   = time.Minute // for an answer; half of it is sure
	mostAnswer = 4 << 10     // bytes
)

// client asks one thing after another, as wrk and its like do: a request is
// put together in one piece, and an answer is looked at for no more than tells
// where it ends and whether it is the right one. The processors are shared with
// who is measured. It speaks to servers that say Content-Length, written so;
// anything else is an error.
type client struct {
	conn       net.Conn
	path, head string
	body       func(to []byte, key int64) []byte
	want       []byte

	deadline         time.Time
	payload, request []byte
	answer           []byte
}

func newClient(conn net.Conn, path string, body func(to []byte, key int64) []byte, want string) *client {
	return &client{
		conn: conn, path: path, body: body, want: []byte(want), answer: make([]byte, mostAnswer),
		head: "POST " + path + " HTTP/1.1\r\nHost: ringway\r\nContent-Type: application/json\r\nContent-Length: ",
	}
}

func (c *client) do(key int64) error {
	c.payload = c.body(c.payload[:0], key)
	c.request = strconv.AppendInt(append(c.request[:0], c.head...), int64(len(c.payload)), 10)
	c.request = append(append(c.request, "\r\n\r\n"...), c.payload...)
	if now := time.Now(); c.deadline.Sub(now) < patience/2 {
		c.deadline = now.Add(patience)
		if err := c.conn.SetDeadline(c.deadline); err != nil {
			return err
		}
	}
	if _, err := c.conn.Write(c.request); err != nil {
		return fmt.Errorf("%s of key %d: %w", c.path, key, err)
	}
	answer, err := c.read()
	if err != nil {
		return fmt.Errorf("%s of key %d: %w after %q", c.path, key, err, answer)
	}
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) || !bytes.Contains(answer, c.want) {
		return fmt.Errorf("%s of key %d: %s", c.path, key, answer)
	}
	return nil
}

// read is one answer, to its last byte.
func (c *client) read() ([]byte, error) {
	have, need := 0, 0 // need: not known yet
	for need == 0 || have < need {
		if have == len(c.answer) {
			return c.answer[:have], fmt.Errorf("more than %d bytes", len(c.answer))
		}
		n, err := c.conn.Read(c.answer[have:])
		if have += n; err != nil {
			return c.answer[:have], err
		}
		if need == 0 {
			if need, err = whole(c.answer[:have]); err != nil {
				return c.answer[:have], err
			}
		}
	}
	if have > need {
		return c.answer[:have], fmt.Errorf("%d bytes too many", have-need)
	}
	return c.answer[:need], nil
}

// whole is the size of the answer that begins with head; 0: that is not known
// from it.
func whole(head []byte) (int, error) {
	end := bytes.Index(head, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, nil
	}
	const field = "\r\nContent-Length: "
	at := bytes.Index(head[:end], []byte(field))
	if at < 0 {
		return 0, fmt.Errorf("no Content-Length")
	}
	length, _, _ := bytes.Cut(head[at+len(field):], []byte("\r\n"))
	n, err := strconv.ParseUint(string(length), 10, 16)
	return end + 4 + int(n), err
}
