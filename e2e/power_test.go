package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// powerDisk is a file system whose power can be cut: what was not synced is
// gone then.
type powerDisk struct {
	t          *testing.T
	image, dir string
}

// The request that ends an ext4 file system at once, without its journal.
const (
	ext4Shutdown   = 0x8004587d // EXT4_IOC_SHUTDOWN
	noFlushAtAll   = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH
	powerDiskBytes = 8 << 30    // of a sparse file
)

func newPowerDisk(t *testing.T) *powerDisk {
	t.Helper()
	lacks := func(what string) {
		if os.Getenv("CI") != "" {
			t.Fatalf("a power cut needs %s", what)
		}
		t.Skipf("a power cut needs %s", what)
	}
	if os.Geteuid() != 0 {
		lacks("root")
	}
	for _, tool := range []string{"mkfs.ext4", "mount", "umount", "losetup"} {
		if _, err := exec.LookPath(tool); err != nil {
			lacks(tool)
		}
	}
	p := &powerDisk{t: t, image: filepath.Join(t.TempDir(), "disk"), dir: filepath.Join(t.TempDir(), "d")}
	if err := os.WriteFile(p.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(p.image, powerDiskBytes); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", "-E", "lazy_itable_init=1,lazy_journal_init=1", p.image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	if out, err := p.mount(); err != nil {
		lacks(fmt.Sprintf("loop devices: %v: %s", err, out))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", p.dir).CombinedOutput(); err != nil {
			t.Logf("umount: %v\n%s", err, out)
		}
	})
	return p
}

// mount has the kernel commit its journal every five minutes only: nothing
// becomes durable because time passes.
func (p *powerDisk) mount() (string, error) {
	out, err := exec.CommandContext(p.t.Context(), "mount", "-o", "loop,commit=300", p.image, p.dir).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// cut ends the file system; whoever writes to it gets errors from now on, but
// for an fsync on its way, which may return none (ADR 10).
func (p *powerDisk) cut() {
	p.t.Helper()
	f, err := os.Open(p.dir)
	if err != nil {
		p.t.Fatal(err)
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), ext4Shutdown, noFlushAtAll); err != nil {
		p.t.Fatalf("cut the power: %v", err)
	}
}

// restore mounts what the power cut left, when nobody uses it any more.
func (p *powerDisk) restore() {
	p.t.Helper()
	eventually(p.t, 30*time.Second, func() error {
		out, err := exec.CommandContext(p.t.Context(), "umount", p.dir).CombinedOutput()
		if err != nil {
			return fmt.Errorf("umount: %w: %s", err, out)
		}
		return nil
	})
	// A container that was made meanwhile may hold it for a moment.
	eventually(p.t, 30*time.Second, func() error {
		out, err := exec.CommandContext(p.t.Context(), "losetup", "-j", p.image).CombinedOutput()
		if err != nil || len(out) > 0 {
			return fmt.Errorf("losetup: %v: in use still: %s", err, out)
		}
		return nil
	})
	if out, err := p.mount(); err != nil {
		p.t.Fatalf("mount again: %v: %s", err, out)
	}
}

// P1: what is acknowledged is on a disk. The power goes under load, for the bus
// and all databases at once, and not even the file system's journal is whole.
func TestDB_PowerCutLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	f := func(engine string, cuts int) {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			disk := newPowerDisk(t)
			d := startDatabase(t, dbOptions{engine: engine, data: filepath.Join(disk.dir, "data")})
			url := func() string { return d.http }
			set, count := &setWriters{client: newDBClient(url)}, &counters{client: newDBClient(url)}
			count.begin(t, 4)
			n := newNemesis(t, d)
			for range cuts {
				w := newWork()
				w.each(8, set.work(w.ctx))
				w.each(4, count.work)
				wait(t.Context(), n.between(2*time.Second, 4*time.Second))
				d.powerOff(disk)
				w.end()
				disk.restore()
				d.boot(t)
			}
			found := d.settled()
			set.askOpen(t)
			report(t, set.check(t, found, isCounter))
			report(t, count.check(t, found))
		})
	}
	f("sqlite", rounds(1, 10))
	f("mysql", rounds(1, 10))
}

// powerOff ends the machine and what its disk did not have yet. Nobody learns
// anything from it after the cut, as without power.
func (d *faultDB) powerOff(disk *powerDisk) {
	d.t.Helper()
	d.stopAll()
	disk.cut()
	// `up` last: the kernel wakes those that are stopped when it ends.
	for _, pid := range d.others() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	d.killAll()
}

// stopAll returns when no thread of the machine runs, or will. Some may be in a
// system call, which is as far as they get.
func (d *faultDB) stopAll() {
	d.t.Helper()
	for calm := 0; calm < 2; calm++ { // twice: a process could begin while the list was made
		eventually(d.t, 20*time.Second, func() error {
			var running []string
			for _, pid := range append(d.others(), d.cmd.Process.Pid) {
				if state := threads(pid); !stopped(state) {
					_ = syscall.Kill(pid, syscall.SIGSTOP) // it may be gone already
					running = append(running, fmt.Sprintf("%d (%s)", pid, state))
				}
			}
			if len(running) > 0 {
				calm = 0
				return fmt.Errorf("run still: %v", running)
			}
			return nil
		})
	}
}

// stopped reports whether nothing of a process runs: one thread stops, and the
// others do so before they leave the kernel, if they are in it.
func stopped(threads string) bool {
	return threads == "" || strings.Trim(threads, "TDZX") == "" && strings.Contains(threads, "T")
}

// threads are the states of a process's threads, a letter each, as in
// proc_pid_stat(5); empty if it is gone.
func threads(pid int) string {
	var states []byte
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, file := range files {
		b, _ := os.ReadFile(file)
		if i := bytes.LastIndex(b, []byte(") ")); i >= 0 {
			states = append(states, b[i+2])
		}
	}
	return string(states)
}

// The disk forgets what was not synced, and only that.
func TestPowerDisk(t *testing.T) {
	disk := newPowerDisk(t)
	write := func(name string, sync bool) {
		f, err := os.Create(filepath.Join(disk.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString("here"); err != nil {
			t.Fatal(err)
		}
		if sync {
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("kept", true)
	write("gone", false)
	disk.cut()
	if _, err := os.Create(filepath.Join(disk.dir, "late")); err == nil {
		t.Error("a file was made after the power cut")
	}
	disk.restore()
	if b, err := os.ReadFile(filepath.Join(disk.dir, "kept")); err != nil || string(b) != "here" {
		t.Errorf("what was synced is %q, %v", b, err)
	}
	if b, _ := os.ReadFile(filepath.Join(disk.dir, "gone")); len(b) > 0 {
		t.Errorf("what was not synced is %q", b)
	}
}
