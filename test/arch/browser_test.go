// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/letmepost/letmepost-operator/test/kube"
)

// readers are chromedp's ways to read a page, all of which fail if the page goes away meanwhile.
var readers = regexp.MustCompile(`chromedp\.(Text|TextContent|OuterHTML|InnerHTML|Value|Title|Location|Nodes|QueryNodeIDs|` +
	`Attributes|AttributesAll|AttributeValue|JavascriptAttribute|Evaluate|EvaluateAsDevTools|Poll)\b`)

// doers are expressions that do something, and so are evaluated once.
var doers = []string{`r.axe+";null"`, `.click(), window.before = true`, `fetch("/dashboard`}

// TestPagesAreReadByRead: tests read pages by browser.Read, because a page may load itself again at any time.
func TestPagesAreReadByRead(t *testing.T) {
	read := 0
	for _, root := range []string{"internal", "test"} {
		err := filepath.WalkDir(kube.Path(root), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.Contains(path, "test/browser/") ||
				strings.HasSuffix(path, "arch/browser_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			read += strings.Count(string(text), "browser.Read[")
			lines := strings.Split(string(text), "\n")
			for i, line := range lines {
				does := func(what string) bool { return strings.Contains(line+lines[min(i+1, len(lines)-1)], what) }
				if readers.MatchString(line) && !slices.ContainsFunc(doers, does) {
					t.Errorf("%s:%d reads a page that may go away: use browser.Read", path, i+1)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if read == 0 {
		t.Error("nothing uses browser.Read: this test looks at nothing")
	}
}
