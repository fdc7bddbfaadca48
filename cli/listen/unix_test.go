package listen

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"ringway/internal/testkit"
)

// socketDir is short, as paths of sockets have to be.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "unix-")
	testkit.Must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func mustListen(t *testing.T, path string) *Socket {
	t.Helper()
	s, err := Open("unix:"+path, "--listen")
	testkit.Must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	found, err := os.ReadDir(dir)
	testkit.Must(t, err)
	for _, f := range found {
		all = append(all, f.Name())
	}
	return all
}

// dead leaves the file of a program that was killed.
func dead(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	testkit.Must(t, err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	testkit.Must(t, l.Close())
}

func TestListenUnix_ModeIsThatOfOwnerAndGroupWhateverTheUmask(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	for _, umask := range []int{0, 0o022, 0o077, 0o777} {
		old := syscall.Umask(umask) // of the whole process: no test here runs beside another
		s, err := Open("unix:"+path, "--listen")
		syscall.Umask(old)
		testkit.Must(t, err)
		info, err := os.Lstat(path)
		testkit.Must(t, err)
		if got := info.Mode(); got != fs.ModeSocket|0o660 {
			t.Errorf("umask %o: mode %s", umask, got)
		}
		testkit.Must(t, s.Close())
	}
}

func TestWithMode_IsSoBeforeTheChmod(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("sockets have no mode here before they have a file")
	}
	path := filepath.Join(socketDir(t), "s")
	old := syscall.Umask(0)
	l, err := withMode.Listen(t.Context(), "unix", path)
	syscall.Umask(old)
	testkit.Must(t, err)
	defer l.Close()
	info, err := os.Lstat(path)
	testkit.Must(t, err)
	if got := info.Mode(); got != fs.ModeSocket|0o660 {
		t.Errorf("mode %s", got)
	}
}

func TestListenUnix_ReplacesTheFileOfTheDead(t *testing.T) {
	dir := socketDir(t)
	path := filepath.Join(dir, "s")
	dead(t, path)
	s := mustListen(t, path)
	c, err := net.Dial("unix", path)
	testkit.Must(t, err)
	testkit.Must(t, c.Close())
	testkit.Must(t, s.Close())
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

// Of many that find a dead one's file, one gets it, and keeps it.
func TestListenUnix_OneOfManyReplacesIt(t *testing.T) {
	dir := socketDir(t)
	for i := range 5 {
		path := filepath.Join(dir, fmt.Sprint(i))
		dead(t, path)
		var all sync.WaitGroup
		got := make([]*Socket, 8)
		for i := range got {
			all.Go(func() {
				s, err := Open("unix:"+path, "--listen")
				if err == nil {
					got[i] = s
				} else if !strings.Contains(err.Error(), "in use") {
					t.Error(err)
				}
			})
		}
		all.Wait()
		n := 0
		for _, s := range got {
			if s == nil {
				continue
			}
			n++
			c, err := net.Dial("unix", path)
			testkit.Must(t, err)
			defer c.Close()
			_, err = s.Accept()
			testkit.Must(t, err)
			testkit.Must(t, s.Close())
		}
		if n != 1 {
			t.Fatalf("%d have it", n)
		}
	}
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

func TestListenUnix_LeavesAloneWhatIsNotItsOwn(t *testing.T) {
	dir := socketDir(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	f := func(path string, parts ...string) {
		t.Helper()
		before, _ := os.Lstat(path)
		s, err := Open("unix:"+path, "--listen")
		if err == nil {
			_ = s.Close()
		}
		wantError(t, err, append(parts, path, "--listen unix:PATH")...)
		after, _ := os.Lstat(path)
		if before != nil && (after == nil || !os.SameFile(before, after)) {
			t.Errorf("%s was touched", path)
		}
	}
	live := mustListen(t, in("live"))
	f(in("live"), "in use by another program")
	c, err := net.Dial("unix", in("live"))
	testkit.Must(t, err)
	testkit.Must(t, c.Close())
	_, err = live.Accept() // of the look
	testkit.Must(t, err)

	packets, err := net.ListenPacket("unixgram", in("packets"))
	testkit.Must(t, err)
	defer packets.Close()
	f(in("packets"), "in use by another program")

	testkit.Must(t, os.WriteFile(in("file"), []byte("precious"), 0o600))
	f(in("file"), "a file", "no socket")
	if b, _ := os.ReadFile(in("file")); string(b) != "precious" {
		t.Errorf("the file has %q", b)
	}
	f(filepath.Join(in("file"), "s"), "not a directory")
	testkit.Must(t, os.Mkdir(in("dir"), 0o700))
	f(in("dir"), "a directory")
	testkit.Must(t, os.Symlink(in("nowhere"), in("link")))
	f(in("link"), "a symbolic link")
	f(in("missing/s"), "no directory "+in("missing"))
	f(in(strings.Repeat("x", 200)), "at most")
	if got := strings.Join(names(t, dir), " "); got != "dir file link live live.ringway-lock packets" {
		t.Errorf("there is %s now", got)
	}
	if os.Getuid() != 0 { // who may anything
		testkit.Must(t, os.Chmod(in("dir"), 0o500))
		f(in("dir/s"), "not permitted")
	}
}

func TestListenUnix_PathMayBeAsLongAsTheSystemAllows(t *testing.T) {
	dir := socketDir(t)
	maxLen := len(syscall.RawSockaddrUnix{}.Path) - 1
	path := filepath.Join(dir, strings.Repeat("x", maxLen-len(dir)-1))
	testkit.Must(t, CheckUnixPath(path))
	dead(t, path)
	testkit.Must(t, mustListen(t, path).Close())
	if CheckUnixPath(path+"x") == nil {
		t.Error("one more is not refused")
	}
}

// What is at its path at the end may be another program's by then.
func TestSocket_RemovesOnlyItsOwnFile(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	for range 20 { // a file system may give the number of the old file to the new one
		first := mustListen(t, path)
		testkit.Must(t, os.Remove(path))
		second, err := net.Listen("unix", path)
		testkit.Must(t, err)
		testkit.Must(t, first.Close())
		c, err := net.Dial("unix", path)
		testkit.Must(t, err)
		testkit.Must(t, c.Close())
		testkit.Must(t, second.Close())
	}
}

// After a kill, the next owner may be another user of the group.
func TestListenUnix_LockIsOfTheGroupToo(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	old := syscall.Umask(0o077)
	s, err := Open("unix:"+path, "--listen")
	syscall.Umask(old)
	testkit.Must(t, err)
	defer s.Close()
	info, err := os.Lstat(path + lockSuffix)
	testkit.Must(t, err)
	if got := info.Mode(); got != socketMode {
		t.Errorf("mode %s", got)
	}
}

// Whatever cleans up directories of temporary files may take the lock file away.
func TestSocket_RemovesOnlyItsOwnLock(t *testing.T) {
	dir := socketDir(t)
	path := filepath.Join(dir, "s")
	s := mustListen(t, path)
	testkit.Must(t, os.Remove(path+lockSuffix))
	testkit.Must(t, s.Close())
	s = mustListen(t, path)
	testkit.Must(t, os.Remove(path+lockSuffix))
	testkit.Must(t, os.WriteFile(path+lockSuffix, nil, socketMode))
	testkit.Must(t, s.Close())
	if got := strings.Join(names(t, dir), " "); got != "s"+lockSuffix {
		t.Errorf("%s is left", got)
	}
}

// Whoever has the lock keeps the path, even if somebody removes its socket.
func TestListenUnix_RefusesAPathWhoseOwnerLives(t *testing.T) {
	dir := socketDir(t)
	path := filepath.Join(dir, "s")
	first := mustListen(t, path)
	testkit.Must(t, os.Remove(path))
	_, err := Open("unix:"+path, "--listen")
	wantError(t, err, "in use by another program")
	testkit.Must(t, first.Close())
	testkit.Must(t, mustListen(t, path).Close())
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}
