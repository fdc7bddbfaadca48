package main

import (
	"strings"
	"testing"
)

func TestImages(t *testing.T) {
	t.Parallel()
	e := newTestStack(t)
	if err := e.makeImages(t.Context()); err != nil {
		t.Fatal(err)
	}
	ids := func() string { return e.docker("image", "inspect", "--format", "{{.Id}}", e.image, e.shardImage) }
	before := ids()
	if err := e.makeImages(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := ids(); after != before {
		t.Errorf("the same source made other images: %s, then %s", before, after)
	}
	for _, image := range []string{e.image, e.shardImage} {
		all := strings.ToLower(e.docker("image", "inspect", "--format", "{{json .Config}}", image))
		if image == e.image { // the base of the other is not ours
			all += strings.ToLower(e.docker("history", "--no-trunc", image))
		}
		for _, word := range []string{"password", "secret", "token", "credential"} {
			if strings.Contains(all, word) {
				t.Errorf("%s contains a %s", image, word)
			}
		}
		if user := e.docker("image", "inspect", "--format", "{{.Config.User}}", image); user != "65534:65534" {
			t.Errorf("%s runs as %q", image, user)
		}
		if out := e.docker("run", "--rm", "--read-only", "--cap-drop", "ALL", image, "version"); !strings.Contains(out, "ringway") {
			t.Errorf("%s prints %q", image, out)
		}
		t.Logf("%s has %s bytes", image, e.docker("image", "inspect", "--format", "{{.Size}}", image))
	}
	if strings.Contains(e.out.String(), "SQLite only") {
		t.Skip("no database server can be had here:\n" + e.out.String())
	}
	args := []string{"run", "--rm", "--read-only", "--cap-drop", "ALL", "--entrypoint", "/usr/sbin/mysqld", e.shardImage, "--no-defaults", "--version"}
	out, err := output(t.Context(), "docker", args...)
	if err != nil { // MariaDB has its own name
		args[6] = "/usr/sbin/mariadbd"
		out = e.docker(args...)
	}
	t.Log(out)
}
