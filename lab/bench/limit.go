package main

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"ringway/events"

	"ringway/lab/bench/load"
	"ringway/lab/bench/usage"
)

// together is how many rows one statement of a replica inserts, about as many
// as it does in bench:writes.
const together = 30

// limit measures what no write over HTTP that ends in three MariaDBs can do
// without: the call itself, answered at once by a server that only reads the
// row, and the insertion. Their sum, beside what a write costs the peer, is
// the best ratio that processors allow if everything else were free.
func limit(ctx context.Context, o options) error {
	clients, rounds, took := 256, 7, 2*time.Second
	if o.quick {
		rounds, took = 3, 1200*time.Millisecond
	}
	web, err := startBare(ctx)
	if err != nil {
		return err
	}
	defer web.stop()
	var servers []*peer
	defer func() {
		for _, s := range servers {
			s.close()
		}
	}()
	for _, name := range []string{"peer", "replica1", "replica2", "replica3"} {
		s, err := startPeer(ctx, o, name, clients, name == "peer")
		if err != nil {
			return err
		}
		servers = append(servers, s)
	}
	one, three := servers[0], servers[1:]
	d := ours(1 << 24)
	rows := func() func() (int64, bool) { return (&spreadKeys{d: d}).take }
	chunks := d
	chunks.size /= together
	overHTTP := func(name, base string) *bound {
		return &bound{side: side{name: name, keys: rows(), begin: func(ctx context.Context, n int) (load.Crew, error) {
			return load.HTTPClients(ctx, base, n, "/write", load.WriteBody, load.OneAdded)
		}}, roots: []int{web.cmd.Process.Pid}, clients: clients, rows: 1}
	}
	peer := &bound{side: side{name: "peer", keys: rows(), begin: load.InGoroutines(one.inserters)}, roots: []int{one.pid}, clients: clients, rows: 1}
	unix, tcp := overHTTP("http", web.unix), overHTTP("http over TCP", web.http)
	stores := &bound{side: side{name: "stores", keys: (&spreadKeys{d: chunks}).take, begin: load.InGoroutines(func(ctx context.Context, n int) ([]load.Worker, func(), error) {
		return bulkInserters(ctx, three, n)
	})}, roots: []int{three[0].pid, three[1].pid, three[2].pid}, clients: d.shards, rows: together}
	sides := []*bound{peer, unix, tcp, stores}
	for round := -1; round < rounds; round++ {
		for _, b := range sides {
			if err := b.round(ctx, took, round >= 0); err != nil {
				return fmt.Errorf("%s: %w", b.name, err)
			}
		}
	}
	if err := stores.check(ctx, three); err != nil {
		return err
	}
	for _, b := range sides {
		fmt.Printf("%-13s %s rows/s; processor time of one row in µs: %s; in the last round %s\n", b.name, spreadOf(b.rates, "%.0f"), spreadOf(b.costs, "%.0f"), b.last)
	}
	for _, web := range []*bound{tcp, unix} {
		over := "over TCP: "
		if web == unix {
			over = ""
		}
		lowest, noDriver := make([]float64, rounds), make([]float64, rounds)
		for i := range rounds {
			lowest[i] = web.costs[i] + stores.costs[i]
			noDriver[i] = lowest[i] - stores.driver[i]
		}
		fmt.Printf("%sthe peer's cost over http + stores: %s; without what the driver of the stores takes: %s\n", over,
			spreadOf(ratios(peer.costs, lowest), "%.2f"), spreadOf(ratios(peer.costs, noDriver), "%.2f"))
	}
	return nil
}

// bound is a side of which processor time counts.
type bound struct {
	side
	roots   []int
	clients int
	rows    int // of one op

	rates, costs, driver []float64 // by round: rows/s; µs a row, in all and of ourselves
	last                 string
}

func (b *bound) round(ctx context.Context, took time.Duration, counts bool) error {
	before := usage.Of(b.roots...)
	l, err := b.work(ctx, b.clients, took)
	if err != nil || !counts {
		return err
	}
	used, n := usage.Of(b.roots...).Since(before), l.Ops*b.rows
	b.rates = append(b.rates, l.PerSecond()*float64(b.rows))
	b.costs = append(b.costs, float64(used.All().Microseconds())/float64(n))
	b.driver = append(b.driver, float64(used["clients"].Microseconds())/float64(n))
	b.last = used.Each(n)
	return nil
}

// check counts the rows of every replica.
func (b *bound) check(ctx context.Context, replicas []*peer) error {
	for i, p := range replicas {
		found, err := p.count(ctx)
		if err != nil {
			return err
		}
		if found != b.ops*b.rows {
			return fmt.Errorf("replica %d has %d rows after %d", i+1, found, b.ops*b.rows)
		}
	}
	return nil
}

// bulkInserters insert rows into all servers, together at a time. The key of
// an op is that of its first row, in units of together.
func bulkInserters(ctx context.Context, servers []*peer, n int) (all []load.Worker, release func(), err error) {
	var releases []func()
	release = func() {
		for _, f := range releases {
			f()
		}
	}
	query := "INSERT INTO peer.StudT VALUES " + strings.TrimSuffix(strings.Repeat("(?,?,?),", together), ",")
	all = make([]load.Worker, n)
	for _, p := range servers {
		workers, done, err := p.workers(ctx, n, query, func(ctx context.Context, s *sql.Stmt, key int64) error {
			args := make([]any, 0, 3*together)
			for id := key * together; id < (key+1)*together; id++ {
				args = append(args, id, load.StudentName(id), id%101)
			}
			_, err := s.ExecContext(ctx, args...)
			return err
		})
		if err != nil {
			release()
			return nil, nil, err
		}
		releases = append(releases, done)
		for i, work := range workers {
			before := all[i]
			all[i] = func(key int64) error {
				if before != nil {
					if err := before(key); err != nil {
						return err
					}
				}
				return work(key)
			}
		}
	}
	return all, release, nil
}

// bareVerb makes this program the bare server, until its standard input ends.
const bareVerb = "bare"

// bare answers /write without doing it, at a port and at a Unix socket.
func bare(socket string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	unix, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	s := &fasthttp.Server{Handler: pretend, NoDefaultServerHeader: true, NoDefaultDate: true}
	fmt.Println("http://" + l.Addr().String())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until whoever started us has ended
		_, _ = l.Close(), unix.Close()       // ends Serve
	}()
	ended := make(chan error, 2)
	for _, l := range []net.Listener{l, unix} {
		go func() { ended <- s.Serve(l) }()
	}
	return errors.Join(<-ended, <-ended)
}

var course = events.Schema{Columns: []string{"Stud_id", "Stud_name", "Stud_marks"}, DTypes: []string{events.DTypeNumber, events.DTypeString, events.DTypeString}}

// pretend reads a row and answers that it was written.
func pretend(ctx *fasthttp.RequestCtx) {
	row, _ := bytes.CutPrefix(ctx.Request.Body(), []byte(`{"data":[`))
	row, whole := bytes.CutSuffix(row, []byte("]}"))
	if _, err := course.ReadRow(row); err != nil || !whole {
		ctx.Error("want one row", fasthttp.StatusBadRequest)
		return
	}
	ctx.SetContentType("application/json")
	ctx.SetBodyString(`{"message":"1 Data entries added","status":"success"}`)
}

// bareServer is a process, so that its processor time can be distinguished from ours.
type bareServer struct {
	cmd        *exec.Cmd
	stdin      io.Closer
	http, unix string // base URL and unix:PATH
	dir        string // of the socket
}

func startBare(ctx context.Context) (*bareServer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "http")
	b := &bareServer{cmd: exec.CommandContext(context.WithoutCancel(ctx), self, bareVerb, socket), unix: "unix:" + socket, dir: dir}
	b.cmd.Stderr = os.Stderr
	if b.stdin, err = b.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.stop()
		return nil, fmt.Errorf("the bare server did not start: %w", err)
	}
	b.http = strings.TrimSpace(line)
	return b, nil
}

func (b *bareServer) stop() {
	_ = b.stdin.Close() // it ends then
	_ = b.cmd.Wait()    // how, nobody asks
	_ = os.RemoveAll(b.dir)
}
