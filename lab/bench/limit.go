package main

import (
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
	"time"

	"github.com/valyala/fasthttp"

	"ringway/events"

	"ringway/lab/bench/load"
)

// together is how many rows one statement of a replica inserts, about as many
// as it does in bench:writes.
const together = 30

// limit measures what no write over HTTP that ends in three MariaDBs can do
// without: the call itself, answered at once by a server that only reads the
// row, and the insertion. Their sum, beside what a write costs the peer, is
// the best ratio that processors allow if everything else were free.
func limit(ctx context.Context, o options) error {
	p := pace{clients: []int{256}, rounds: 7, warm: 2 * time.Second, measure: 2 * time.Second}
	if o.quick {
		p.rounds, p.warm, p.measure = 3, 1200*time.Millisecond, 1200*time.Millisecond
	}
	clients := p.clients[0]
	web, err := startBare(ctx)
	if err != nil {
		return err
	}
	defer web.stop()
	var servers []*peer
	var pids []int
	for _, name := range []string{"peer", "replica1", "replica2", "replica3"} {
		s, err := startPeer(ctx, o, name, clients, name == "peer")
		if err != nil {
			return err
		}
		defer s.close()
		servers, pids = append(servers, s), append(pids, s.pid)
	}
	replicas := servers[1:]
	d := ours(1 << 24)
	rows := func() func() (int64, bool) { return (&spreadKeys{d: d}).take }
	chunks := d
	chunks.size /= together
	overHTTP := func(name, base string) *side {
		return &side{name: name, keys: rows(), roots: []int{web.cmd.Process.Pid}, begin: func(ctx context.Context, n int) (load.Crew, error) {
			return load.HTTPClients(ctx, base, n, "/write", load.WriteBody, load.OneAdded)
		}}
	}
	stores := &side{name: "stores", keys: (&spreadKeys{d: chunks}).take, roots: pids[1:], rows: together, fixed: d.shards,
		begin: load.InGoroutines(func(ctx context.Context, n int) ([]load.Worker, func(), error) {
			return bulkInserters(ctx, replicas, n)
		})}
	sides := []*side{
		{name: "peer", keys: rows(), roots: pids[:1], begin: load.InGoroutines(servers[0].inserters)},
		overHTTP("http", web.unix), overHTTP("http over TCP", web.http), stores,
	}
	scores, err := p.play(ctx, clients, sides)
	if err != nil {
		return err
	}
	for i, replica := range replicas {
		found, err := replica.count(ctx)
		if err != nil {
			return err
		}
		if written := stores.ops * together; found != written {
			return fmt.Errorf("replica %d has %d rows after %d", i+1, found, written)
		}
	}
	for i, s := range scores {
		fmt.Printf("%-13s %s rows/s; processor time of one row in µs: %s; in the last round %s\n", sides[i].name,
			spreadOf(s.rates, "%.0f"), spreadOf(s.costs, "%.0f"), s.used.Each(s.last.Ops*max(1, sides[i].rows)))
	}
	fmt.Print("over TCP: ", limitOf(scores[0], scores[2], scores[3]), limitOf(scores[0], scores[1], scores[3]))
	return nil
}

// limitOf is the best ratio, with and without what the driver of the stores takes.
func limitOf(peer, http, stores score) string {
	lowest, noDriver := make([]float64, len(peer.costs)), make([]float64, len(peer.costs))
	for i := range lowest {
		lowest[i] = http.costs[i] + stores.costs[i]
		noDriver[i] = lowest[i] - stores.ours[i]
	}
	return fmt.Sprintf("the peer's cost over http + stores: %s; without what the driver of the stores takes: %s\n",
		spreadOf(ratios(peer.costs, lowest), "%.2f"), spreadOf(ratios(peer.costs, noDriver), "%.2f"))
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
	into := make([][]load.Worker, n) // each server
	for _, p := range servers {
		workers, done, err := p.workers(ctx, n, insertion(together), func(ctx context.Context, s *sql.Stmt, key int64) error {
			_, err := s.ExecContext(ctx, values(key*together, (key+1)*together)...)
			return err
		})
		if err != nil {
			release()
			return nil, nil, err
		}
		releases = append(releases, done)
		for i, work := range workers {
			into[i] = append(into[i], work)
		}
	}
	for _, works := range into {
		all = append(all, func(key int64) error {
			for _, work := range works {
				if err := work(key); err != nil {
					return err
				}
			}
			return nil
		})
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
	*process
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
	cmd := exec.Command(self, bareVerb, socket)
	if _, err := cmd.StdinPipe(); err != nil { // ends with us
		return nil, err
	}
	b := &bareServer{unix: "unix:" + socket, dir: dir}
	if b.process, err = startProcess(cmd); err != nil {
		return nil, err
	}
	return b, b.await(ctx, 10*time.Second, func(line string) bool {
		b.http = line
		return line != ""
	})
}

func (b *bareServer) stop() {
	b.process.stop()
	_ = os.RemoveAll(b.dir)
}
