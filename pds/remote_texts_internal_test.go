package pds

import (
	"reflect"
	"testing"

	"github.com/pdskit/pdskit/oauth/ui"
)

// The texts for members from elsewhere are there in every language of the pages.
func TestRemoteTexts(t *testing.T) {
	pages, err := ui.New(ui.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, locale := range pages.Locales() {
		texts, known := remoteLanguages[locale.Tag]
		if !known {
			t.Errorf("no texts in %s", locale.Name)
		}
		for field, text := range reflect.ValueOf(texts).Fields() {
			if text.String() == "" {
				t.Errorf("%s: no %s", locale.Name, field.Name)
			}
		}
	}
}
