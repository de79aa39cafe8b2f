// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package media

// Sizes in bytes. The flag --max-media-size of the API picks the limit of a process; these are what it picks from.
const (
	// DefaultMaxSize is the limit unless the flag says otherwise. It holds every image and every video that Bluesky
	// takes (100 MB), and bounds what one upload can take of the disk. Whoever posts LinkedIn's long videos (500 MB)
	// raises it.
	DefaultMaxSize = 200 << 20

	// HighestMaxSize is the highest limit that the flag accepts. It is far above what any platform takes; and an upload
	// has fifteen minutes in all, in which a file of this size arrives only if more than 2 MB come each second.
	HighestMaxSize = 2000 << 20
)

// MaxSize is the size in bytes above which this library refuses a file. A file of exactly that size is taken. Whoever
// reads a form needs it to bound the whole.
func (l *Library) MaxSize() int64 { return l.maxSize }
