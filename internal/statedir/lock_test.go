package statedir_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"ringway/internal/statedir"
)

func TestTake_RefusesASecondHolderAndSaysWhoHasIt(t *testing.T) {
	dir := t.TempDir()
	first, err := statedir.Take(t.Context(), dir, "lock", 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = statedir.Take(t.Context(), dir, "lock", time.Millisecond)
	if !errors.Is(err, statedir.ErrInUse) || !strings.Contains(err.Error(), "(pid "+strconv.Itoa(os.Getpid())+")") {
		t.Fatalf("got %v", err)
	}
	other, err := statedir.Take(t.Context(), dir, "other", 0)
	if err != nil {
		t.Fatalf("another lock: %v", err)
	}
	_ = other.Close()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := statedir.Take(t.Context(), dir, "lock", 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
}

func TestTake_WaitsForTheHolderAndNoLongerThanItsContext(t *testing.T) {
	dir := t.TempDir()
	first, err := statedir.Take(t.Context(), dir, "lock", 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := statedir.Take(ctx, dir, "lock", time.Hour); !errors.Is(err, statedir.ErrInUse) {
		t.Fatalf("got %v", err)
	}
	got := make(chan error)
	go func() {
		second, err := statedir.Take(t.Context(), dir, "lock", time.Minute)
		if err == nil {
			err = second.Close()
		}
		got <- err
	}()
	_ = first.Close()
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}

func TestTake_NeedsTheDirectory(t *testing.T) {
	if _, err := statedir.Take(t.Context(), t.TempDir()+"/none", "lock", 0); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
}
