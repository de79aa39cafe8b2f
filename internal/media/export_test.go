// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package media

// OnSync has a function see which folders are synced, and fail instead. It is called before Put.
func (l *Library) OnSync(see func(folder string) error) {
	l.syncFolder = func(folder string) error {
		if err := see(folder); err != nil {
			return err
		}
		return syncFolder(folder)
	}
}
