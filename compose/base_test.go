package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestFirstBase(t *testing.T) {
	way := func(name string, err error) base {
		return base{name, func(context.Context) (string, string, error) { return name, "with " + name, err }}
	}
	f := func(want, out string, bases ...base) {
		t.Helper()
		var progress strings.Builder
		image, what, err := firstBase(t.Context(), bases, &progress)
		if err != nil || image != want || what != "with "+want || progress.String() != out {
			t.Errorf("got %s %q %v, said %q; want %s, said %q", image, what, err, progress.String(), want, out)
		}
	}
	away := errors.New("no such host\nand more")
	f("a", "", way("a", nil), way("b", nil))
	f("b", "", way("a", errNotHere), way("b", nil))
	f("c", "a cannot be had: no such host\nb cannot be had: no such host\n", way("a", away), way("b", away), way("c", nil))
	if _, _, err := firstBase(t.Context(), []base{way("a", away)}, io.Discard); !errors.Is(err, away) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // a person's ctrl-C is no reason to take the next
	if _, _, err := firstBase(ctx, []base{way("a", away), way("b", nil)}, io.Discard); !errors.Is(err, away) {
		t.Errorf("got %v", err)
	}
}

func TestShortly(t *testing.T) {
	long := errors.New("mmdebstrap --quiet: exit status 25: dpkg-deb: building\nE: apt-get update failed\nI: done")
	if got := shortly(long); got.Error() != "mmdebstrap: apt-get update failed" {
		t.Errorf("got %v", got)
	}
	if other := errors.New("no such file"); shortly(other) != other {
		t.Error("another error is not kept")
	}
}

func TestSlim(t *testing.T) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	add := func(name string, kind byte, text string) {
		t.Helper()
		h := &tar.Header{Name: name, Typeflag: kind, Size: int64(len(text)), Mode: 0o755}
		if kind == tar.TypeSymlink {
			h.Linkname = "usr/lib"
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	add("./lib", tar.TypeSymlink, "")
	add("./usr/sbin/", tar.TypeDir, "")
	want := []string{
		"./usr/sbin/mysqld", "./usr/lib/x86_64-linux-gnu/libc.so.6", "./usr/share/mysql/errmsg.sys", "./usr/share/doc/libc6/copyright", "./etc/ld.so.conf.d/x.conf",
	}
	for _, name := range append([]string{
		"./usr/bin/perl", "./usr/lib/x86_64-linux-gnu/perl/5/x.so", "./usr/lib/x86_64-linux-gnu/libperl.so.5", "./usr/share/doc/libc6/NEWS.gz",
		"./usr/sbin/mysqld-debug", "./var/lib/dpkg/status", "./etc/resolv.conf", "./etc/hostname", "./usr/lib/mysql/plugin/telemetry_client.so",
	}, want...) {
		add(name, tar.TypeReg, "text of "+name)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	whole := archive.Bytes()
	var out bytes.Buffer
	if err := slim(&out, bytes.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(r)
		if h.Typeflag == tar.TypeReg && string(text) != "text of "+h.Name {
			t.Errorf("%s holds %q", h.Name, text)
		}
		got = append(got, h.Name)
	}
	if !slices.Equal(got, append([]string{"./lib"}, want...)) {
		t.Errorf("got %q", got)
	}
	if err := slim(io.Discard, bytes.NewReader(whole[:len(whole)/3])); err == nil {
		t.Error("half an archive was taken")
	}
}
