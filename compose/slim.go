package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// kept are the parts of a Debian archive that a database server and its
// libraries need to run. There is no shell among them: nothing here calls one.
var kept = []string{"usr/sbin/mysqld", "usr/sbin/mariadbd", "usr/lib/", "usr/lib64/", "usr/share/mysql/", "usr/share/mariadb/", "etc/ld.so.conf.d/"}

var dropped = []string{"perl", "telemetry", "group_replication", "gdb/", "python"}

// keep says whether a file of the archive is for the image.
func keep(name string) bool {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	for _, d := range dropped {
		if strings.Contains(name, d) {
			return false
		}
	}
	if strings.HasPrefix(name, "usr/share/doc/") {
		return path.Base(name) == "copyright"
	}
	for _, k := range kept {
		if name == k || strings.HasSuffix(k, "/") && strings.HasPrefix(name, k) {
			return true
		}
	}
	return false
}

// slim copies what is kept. Links at the top (/lib is usr/lib) are.
func slim(to io.Writer, from io.Reader) error {
	in, out := tar.NewReader(from), tar.NewWriter(to)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out.Close()
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		top := h.Typeflag == tar.TypeSymlink && strings.Count(path.Clean("/"+h.Name), "/") == 1
		if h.Typeflag == tar.TypeDir || !top && !keep(h.Name) {
			continue // directories come with their files
		}
		if err := out.WriteHeader(h); err != nil {
			return fmt.Errorf("write archive: %w", err)
		}
		if _, err := io.Copy(out, in); err != nil {
			return fmt.Errorf("copy %s: %w", h.Name, err)
		}
	}
}
