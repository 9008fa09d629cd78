package pds

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestLimitsDocumented: the comments of Limits, the defaults that are set, and
// the table in docs/operating.md say the same.
func TestLimitsDocumented(t *testing.T) {
	source, err := os.ReadFile("limits.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	var limits Limits
	limits.setDefaults()
	values := reflect.ValueOf(limits)
	for i := range values.NumField() {
		field := values.Type().Field(i)
		m := regexp.MustCompile(`(?m)^\t` + field.Name + ` .*// (.*): (.*)$`).FindSubmatch(source)
		if m == nil {
			t.Errorf("the comment of Limits.%s does not end with its default", field.Name)
			continue
		}
		documented, err := readLimit(string(m[2]))
		if err != nil || documented != values.Field(i).Int() {
			t.Errorf("Limits.%s is %d by default, its comment says %s (%v)", field.Name, values.Field(i).Int(), m[2], err)
		}
		if row := fmt.Sprintf("\n| `%s` | %s | %s |\n", field.Name, m[1], m[2]); !strings.Contains(string(page), row) {
			t.Errorf("docs/operating.md lacks the row%s", row)
		}
	}
	_, table, _ := strings.Cut(string(page), "<!-- pds.Limits:")
	table, _, _ = strings.Cut(table, "<!-- constants:")
	if rows := strings.Count(table, "\n| `"); rows != values.NumField() {
		t.Errorf("docs/operating.md has %d rows of limits, there are %d", rows, values.NumField())
	}
}

// readLimit reads "5 MiB", "20 min" or "1,000".
func readLimit(text string) (int64, error) {
	number, unit, _ := strings.Cut(text, " ")
	n, err := strconv.ParseInt(strings.ReplaceAll(number, ",", ""), 10, 64)
	factor, ok := map[string]int64{
		"": 1, "MB": 1e6, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
		"ms": int64(time.Millisecond), "s": int64(time.Second), "min": int64(time.Minute), "h": int64(time.Hour), "days": 24 * int64(time.Hour),
	}[unit]
	if err == nil && !ok {
		err = fmt.Errorf("unknown unit %q", unit)
	}
	return n * factor, err
}
