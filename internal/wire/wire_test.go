// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"net/http"
	"testing"
)

func TestCheckEncoding(t *testing.T) {
	for _, tc := range []struct {
		reason string
		sent   []string
		want   error
	}{
		{"none", nil, nil},
		{"empty", []string{""}, nil},
		{"as it is", []string{"Identity"}, nil},
		{"compressed", []string{"gzip"}, errEncoded},
		{"compressed twice", []string{"gzip, br"}, errEncoded},
		{"compressed in the second place", []string{"identity", "zstd"}, errEncoded},
	} {
		if err := CheckEncoding(http.Header{"Content-Encoding": tc.sent}); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", tc.reason, err)
		}
	}
}

func TestCheckCharset(t *testing.T) {
	for charset, want := range map[string]error{
		"": nil, "utf-8": nil, "UTF-8": nil, "utf8": nil, "UTF8": nil,
		"utf-16": errCharset, "iso-8859-1": errCharset, "us-ascii": errCharset, "utf-8,utf-8": errCharset,
	} {
		if err := CheckCharset(map[string]string{"charset": charset}); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", charset, err, want)
		}
	}
}

// TestDecode: what can be read in two ways is not read at all.
func TestDecode(t *testing.T) {
	for text, taken := range map[string]bool{
		`{"name":"a"}`: true, ` {"n\u0061me":"a"} `: true, `{}`: true, `null`: true,
		`{"NAME":"a"}`: false, `{"name":"b","name":"a"}`: false, `{"name":"b","n\u0061me":"a"}`: false,
		`{"name":"a","more":1}`: false, "{\"name\":\"a\xff\"}": false, `{"name":"a\ud800"}`: false,
		`{"name":"a"}{}`: false, `{"name":"a"}x`: false, ``: false, `[]`: false,
	} {
		var into struct {
			Name string `json:"name"`
		}
		if err := Decode([]byte(text), &into); (err == nil) != taken {
			t.Errorf("%q: %v, want it taken: %t", text, err, taken)
		}
		if err := Decode(WithoutMark([]byte("\ufeff"+text)), &into); (err == nil) != taken {
			t.Errorf("%q behind a byte order mark: %v", text, err)
		}
	}
}
