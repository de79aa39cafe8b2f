// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package authn

import (
	"fmt"
	"slices"
	"testing"
	"unsafe"

	"k8s.io/apimachinery/pkg/types"

	"github.com/letmepost/letmepost-operator/api/v1alpha1"
)

// TestPacked: the names and UIDs of a list are what they were, and stand side by side.
func TestPacked(t *testing.T) {
	for _, n := range []int{0, 1, together - 1, together, together + 1, 5*together + 7} {
		list := &v1alpha1.ApiKeyList{Items: make([]v1alpha1.ApiKey, n)}
		for i := range list.Items {
			list.Items[i].Name, list.Items[i].UID = fmt.Sprintf("key-%d", i*i), types.UID(fmt.Sprintf("uid-%d", i))
		}
		list.Items = append(list.Items, v1alpha1.ApiKey{}) // nameless
		packed := compactList(list).Items
		if len(packed) != n+1 {
			t.Fatalf("%d keys of %d", len(packed), n+1)
		}
		for i, k := range packed {
			if k.name != list.Items[i].Name || k.id != string(list.Items[i].UID) {
				t.Errorf("of %d keys, %d is %q, %q", n, i, k.name, k.id)
			}
		}
		for some := range slices.Chunk(packed[:n], together) {
			first, last := some[0], some[len(some)-1]
			begin, end := address(first.name), address(last.id)
			if length := int(end - begin); end < begin || length > 20*together {
				t.Errorf("of %d keys, some stand %d bytes apart", n, length)
			}
		}
	}
}

func address(s string) uintptr { return uintptr(unsafe.Pointer(unsafe.StringData(s))) }

// TestTableReserves: a table that is told of a list grows once, to no more than it needs.
func TestTableReserves(t *testing.T) {
	const n = 10_000
	table := newTable()
	table.put(hashOf(numbered("before", 0)), keyOfAcme(), taken)
	table.reserve(n)
	reserved := table.array.Load()
	for i := range n - 1 {
		table.put(hashOf(numbered("list", i)), keyOfAcme(), taken)
	}
	if table.array.Load() != reserved {
		t.Error("it has grown once more")
	}
	if slots := len(reserved.slots); slots > 3*n/2 {
		t.Errorf("%d slots for %d keys", slots, n)
	}
	if table.getAt("before", 0) == nil || table.getAt("list", n-2) == nil {
		t.Error("a key is lost")
	}
	table.reserve(n / 2)
	if table.array.Load() != reserved {
		t.Error("a smaller list has moved it")
	}
}
