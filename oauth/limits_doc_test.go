package oauth

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

// The comments of Limits and Rates, the defaults that are set, and the table in
// docs/operating.md say the same.
func TestLimitsDocumented(t *testing.T) {
	source, err := os.ReadFile("limits.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	check := func(of reflect.Value, prefix string, read func(text string) (any, error)) {
		for i := range of.NumField() {
			name := of.Type().Field(i).Name
			if name == "Rates" {
				continue
			}
			rows++
			m := regexp.MustCompile(`(?m)^\t` + name + ` .*// (?:(.*): )?(.*)$`).FindSubmatch(source)
			if m == nil {
				t.Errorf("%s has no comment", name)
				continue
			}
			got, err := read(string(m[2]))
			if err != nil || fmt.Sprint(got) != fmt.Sprint(of.Field(i).Interface()) {
				t.Errorf("%s is %v by default, its comment says %s (%v)", name, of.Field(i), m[2], err)
			}
			if row := fmt.Sprintf("\n| `%s%s` | %s | %s |\n", prefix, name, m[1], m[2]); !strings.Contains(string(page), row) {
				t.Errorf("docs/operating.md lacks the row%s", row)
			}
		}
	}
	limits := Limits{}.withDefaults()
	check(reflect.ValueOf(limits), "", func(text string) (any, error) {
		number, unit, _ := strings.Cut(text, " ")
		n, err := strconv.ParseInt(strings.ReplaceAll(number, ",", ""), 10, 64)
		switch unit {
		case "":
			return n, err
		case "KiB":
			return n << 10, err
		}
		return readDuration(text)
	})
	check(reflect.ValueOf(limits.Rates), "Rates.", func(text string) (any, error) {
		points, window, _ := strings.Cut(text, " in ")
		n, err := strconv.Atoi(points)
		if err != nil {
			return nil, err
		}
		length, err := readDuration(window)
		return Rate{n, length}, err
	})
	_, table, _ := strings.Cut(string(page), "<!-- oauth.Limits:")
	table, _, _ = strings.Cut(table, "\n## ")
	if n := strings.Count(table, "\n| `"); n != rows {
		t.Errorf("docs/operating.md has %d rows, there are %d", n, rows)
	}
}

// readDuration reads "15 min" or "14 days".
func readDuration(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, " days"); ok {
		n, err := strconv.Atoi(days)
		return time.Duration(n) * day, err
	}
	return time.ParseDuration(strings.ReplaceAll(strings.ReplaceAll(text, " min", "m"), " ", ""))
}
