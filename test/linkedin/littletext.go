// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package linkedin

import (
	"regexp"
	"strings"
)

// Reserved are the characters that have to be escaped in the text of a post.
const Reserved = `\|{}@[]()<>#*_~`

var hashtag = regexp.MustCompile(`^\{hashtag\|\\#\|([^\\|{}@\[\]()<>#*_~]+)\}`)

// Read is what readers see of a "little text": it ends where a reserved character is not escaped. tags are those that
// can be clicked.
func Read(little string) (text string, tags []string) {
	var b strings.Builder
	for i := 0; i < len(little); i++ {
		switch tag := hashtag.FindStringSubmatch(little[i:]); {
		case tag != nil:
			b.WriteString("#" + tag[1])
			tags = append(tags, tag[1])
			i += len(tag[0]) - 1
		case little[i] == '\\' && i+1 < len(little) && strings.IndexByte(Reserved, little[i+1]) >= 0:
			i++
			b.WriteByte(little[i])
		case strings.IndexByte(Reserved, little[i]) >= 0:
			return b.String(), tags
		default:
			b.WriteByte(little[i])
		}
	}
	return b.String(), tags
}
