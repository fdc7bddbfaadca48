package rowjson_test

import (
	"math"
	"strings"
	"testing"

	"ringway/events/rowjson"
)

func TestNumber_IsCanonical(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		v, err := rowjson.Number(in)
		if err != nil || v.Raw() != want || !v.IsNumber() {
			t.Errorf("%s: got %s, %v, want %s", in, v, err, want)
		}
		if again, err := rowjson.Number(v.Raw()); err != nil || again != v {
			t.Errorf("%s: %s is not canonical: %s, %v", in, v, again, err)
		}
	}
	f("0", "0")
	f("-0", "0")
	f("-0.000e99999999999999", "0")
	f("7", "7")
	f("-12", "-12")
	f("1.50", "1.5")
	f("15e-1", "1.5")
	f("1E3", "1000")
	f("1.5e+1", "15")
	f("0.00120", "0.0012")
	f("-120e-5", "-0.0012")
	f("100", "100")
	f("1e34", "1"+strings.Repeat("0", 34))
	f("1e-30", "0."+strings.Repeat("0", 29)+"1")
	f(strings.Repeat("9", 35)+"."+strings.Repeat("9", 30), strings.Repeat("9", 35)+"."+strings.Repeat("9", 30))
	f("0.1"+strings.Repeat("0", 500), "0.1")
	for _, bad := range []string{
		"", "-", "+1", "01", "-01", ".5", "1.", "1.e3", "1e", "1e+", "1e+-3", "1e--3", "1e3x", "1.2.3", "0x1", "1_0", " 1", "1 ", "NaN", "Infinity", "--1", "1-", "１",
		"1e35", "1e-31", strings.Repeat("9", 36), "1e999999999999999999999", "1e-999999999999999999999",
	} {
		if v, err := rowjson.Number(bad); err == nil {
			t.Errorf("%q became %s", bad, v)
		}
	}
}

func TestValue_Int64(t *testing.T) {
	f := func(number string, want int64, ok bool) {
		t.Helper()
		v, err := rowjson.Number(number)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := v.Int64(); got != want || (err == nil) != ok {
			t.Errorf("%s: got %d, %v", number, got, err)
		}
	}
	f("0", 0, true)
	f("-7", -7, true)
	f("1e3", 1000, true)
	f("999999999999999999", 999999999999999999, true)
	f("9223372036854775807", math.MaxInt64, true)
	f("-9223372036854775808", math.MinInt64, true)
	f("9223372036854775808", 0, false)
	f("0.5", 0, false)
	if _, err := rowjson.Text("1").Int64(); err == nil {
		t.Error("a string is an integer")
	}
}
