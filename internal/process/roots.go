// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package process

// The image has no file of certificate authorities: it would be that of whichever machine built it, and the same source
// would give another image. These, of Mozilla's list, are used where the system has none. SSL_CERT_FILE and
// SSL_CERT_DIR name others.
import _ "golang.org/x/crypto/x509roots/fallback"
