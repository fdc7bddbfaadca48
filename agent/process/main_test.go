package process_test

import (
	"testing"

	"go.uber.org/goleak"

	"ringway/agent/runtimetest"
)

func TestMain(m *testing.M) {
	runtimetest.RunAsChild()
	goleak.VerifyTestMain(m)
}
