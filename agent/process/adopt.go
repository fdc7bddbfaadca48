package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ringway/agent"
	"ringway/events"
	"ringway/internal/proc"
)

// adopt compares the records with what runs.
func (r *Runtime) adopt() error {
	for _, dir := range []string{"instances", "logs"} {
		if err := os.MkdirAll(filepath.Join(r.cfg.Dir, dir), 0o755); err != nil {
			return err
		}
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	r.boot = strings.TrimSpace(string(boot))
	records, err := r.readRecords()
	if err != nil {
		return err
	}
	marked, err := r.findInstances(records)
	if err != nil {
		return err
	}
	for _, rec := range records {
		if err := r.adoptRecord(rec, marked[rec.Mark]); err != nil {
			return err
		}
		delete(marked, rec.Mark)
	}
	for _, ps := range marked {
		r.adoptUnrecorded(ps[0])
	}
	return nil
}

func (r *Runtime) readRecords() ([]record, error) {
	paths, err := filepath.Glob(r.recordPath("*"))
	if err != nil {
		return nil, err
	}
	var records []record
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		rec, err := decodeRecord(b)
		if err == nil && r.recordPath(rec.Spec.Name) != path {
			err = fmt.Errorf("it is of %q", rec.Spec.Name)
		}
		if err != nil {
			// If its process runs, the environment beside the mark has most of it.
			r.log.Warn("refused a record of an instance", "path", path, events.KeyError, err)
			continue
		}
		records = append(records, rec)
	}
	return records, nil
}

// findInstances finds what runs. A process that is executing right now shows an
// empty environment for a moment: intents get a second look.
func (r *Runtime) findInstances(records []record) (map[string][]process, error) {
	for try := 0; ; try++ {
		marked, err := r.findMarked()
		if err != nil {
			return nil, err
		}
		unsure := false
		for _, rec := range records {
			unsure = unsure || rec.PID == 0 && len(marked[rec.Mark]) == 0
		}
		if !unsure || try == 3 {
			return marked, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (r *Runtime) adoptRecord(rec record, found []process) error {
	name := rec.Spec.Name
	c := newChild(rec)
	c.launched = true
	if !rec.Dead {
		for _, p := range found {
			intent := rec.PID == 0
			if !intent && (rec.Boot != r.boot || rec.PID != p.PID || rec.Ticks != p.Ticks) {
				continue
			}
			if err := r.adoptProcess(c, p); errors.Is(err, unix.ESRCH) {
				continue
			} else if err != nil {
				return err
			}
			r.log.Info("instance adopted", events.KeyInstance, name, events.KeyPID, p.PID)
			if intent {
				return r.write(c.record)
			}
			return nil
		}
		if rec.PID == 0 {
			r.log.Info("intent without a process dropped", events.KeyInstance, name)
			return os.Remove(r.recordPath(name))
		}
		c.record.Dead, c.record.Detail = true, "ended while no agent watched it"
		if rec.Boot != r.boot {
			c.record.Detail = "the machine was started again"
		}
	}
	close(c.settled)
	r.children[name] = c
	if rec.leavesMore() {
		r.killLeftovers(rec.Mark)
	}
	return nil
}

// adoptUnrecorded takes in a process that bears our mark and has no record.
func (r *Runtime) adoptUnrecorded(p process) {
	port, _ := strconv.Atoi(p.env["PORT"])
	id, _ := strconv.Atoi(p.env[agent.EnvNumber])
	name := p.env[agent.EnvInstance]
	spec := events.InstanceSpec{
		Name: name, Service: p.env[agent.EnvService], ID: id,
		Kind: p.env[agent.EnvKind], Volume: p.env[agent.EnvVolume],
		Health: events.DefaultServiceSpec().Health, Grace: events.DefaultServiceSpec().Grace,
	}
	if grace, err := time.ParseDuration(p.env[agent.EnvGrace]); err == nil {
		spec.Grace = events.Duration(grace)
	}
	log := r.log.With(events.KeyInstance, name, events.KeyPID, p.PID)
	if _, ok := r.children[name]; ok || events.ValidName(name) != nil || port == 0 {
		log.Warn("a process bears the mark of this directory, and no record names it; end it by hand")
		return
	}
	c := newChild(record{
		Spec: spec, Mark: p.env[envMark], IP: r.cfg.IP, Port: port, Boot: r.boot, Started: time.Now().UTC().Round(0),
	})
	c.launched = true
	err := r.adoptProcess(c, p)
	if err == nil {
		err = r.write(c.record)
	}
	log.Warn("instance without a record adopted", events.KeyError, err)
}

// adoptProcess attaches c to p, unless that has ended meanwhile (ESRCH).
func (r *Runtime) adoptProcess(c *child, p process) error {
	if err := c.attach(p.PID); err != nil {
		return err
	}
	// Between the look and the pidfd another process may have got the number.
	if again, err := proc.Read(p.PID); err != nil || again.Ticks != p.Ticks || again.Dead {
		c.release()
		return unix.ESRCH
	}
	c.record.PID, c.record.Ticks = p.PID, p.Ticks
	r.children[c.name] = c
	r.unwatched = append(r.unwatched, c)
	return nil
}

// process is one that this directory's runtimes started, or that such a one did.
type process struct {
	proc.Stat
	env map[string]string
}

// findMarked finds the session leaders that this directory's runtimes started
// and that have not ended, by mark.
func (r *Runtime) findMarked() (map[string][]process, error) {
	found := map[string][]process{}
	err := eachMarked(r.cfg.Dir, r.cfg.Host, func(p process) {
		if p.Session == p.PID {
			found[p.env[envMark]] = append(found[p.env[envMark]], p)
		}
	})
	return found, err
}

// killLeftovers kills what an instance that has ended left behind, wherever it hid.
func (r *Runtime) killLeftovers(mark string) {
	err := eachMarked(r.cfg.Dir, r.cfg.Host, func(p process) {
		c := newChild(record{})
		if p.env[envMark] != mark || c.attach(p.PID) != nil {
			return
		}
		if again, err := proc.Read(p.PID); err == nil && again.Ticks == p.Ticks {
			c.signal(unix.SIGKILL)
		}
		c.release()
	})
	if err != nil {
		r.log.Warn("cannot look for what an instance left behind", events.KeyError, err)
	}
}

func eachMarked(dir, host string, fn func(process)) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	want := []byte(envState + "=" + dir + "\x00")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil || !bytes.Contains(raw, want) {
			continue // gone, somebody else's, or no business of ours
		}
		stat, err := proc.Read(pid)
		if err != nil || stat.Dead {
			continue
		}
		p := process{stat, map[string]string{}}
		for kv := range strings.SplitSeq(string(raw), "\x00") {
			if k, v, ok := strings.Cut(kv, "="); ok {
				p.env[k] = v
			}
		}
		if p.env[envState] == dir && p.env[agent.EnvHost] == host && p.env[envMark] != "" {
			fn(p)
		}
	}
	return nil
}
