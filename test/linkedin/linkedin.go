// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package linkedin plays LinkedIn's API, for tests: posts, images and comments. There is no LinkedIn to test against,
// so this is written from its documentation and from what others have reported of it, by the same people as what is
// tested: it shows that we do what we believe to be right, and not that LinkedIn agrees.
//
// It is as unfriendly as LinkedIn: a text is cut off at the first reserved character that is not escaped, and the
// answer is 201; old versions are refused with 426, the same text twice with 422, and too many requests with 429 and no
// word of when to come again; an image is not there until it has been looked at.
package linkedin

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
)

// OldestVersion is the oldest version that is taken.
const OldestVersion = "202512"

// Post is one that was made.
type Post struct {
	URN, Author string
	Text        string   // as readers see it
	Tags        []string // that can be clicked
	Images      []Image
}

// Image is one of a post.
type Image struct{ URN, AltText string }

// Comment is one that was made.
type Comment struct{ On, Actor, Text string }

// Server is a LinkedIn.
type Server struct {
	URL string

	// Issuer is an authorization server: whoever has a token of its is who it says, as with those that were granted.
	Issuer string
	// Looks is how often an image is still being processed when it is looked at.
	Looks int
	// Broken is an image that can't be read, by the order in which they were uploaded, from 1; 0: none.
	Broken int

	server   *httptest.Server
	mu       sync.Mutex
	members  map[string]string // tokens to ids
	faults   []Fault
	posts    []Post
	comments []Comment
	images   map[string]*upload
	requests []string
	silent   int
}

type upload struct {
	number, looks int
	bytes         []byte
}

// New starts a server that ends with the test.
func New(t interface{ Cleanup(func()) }) *Server {
	s := &Server{members: map[string]string{}, images: map[string]*upload{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/userinfo", s.userInfo)
	mux.HandleFunc("POST /rest/posts", s.post)
	mux.HandleFunc("POST /rest/images", s.initializeUpload)
	mux.HandleFunc("PUT /upload/{urn}", s.putImage)
	mux.HandleFunc("GET /rest/images/{urn}", s.image)
	mux.HandleFunc("POST /rest/socialActions/{urn}/comments", s.comment)
	s.server = httptest.NewServer(s.unreliable(s.checked(mux)))
	s.URL = s.server.URL
	t.Cleanup(s.server.Close)
	return s
}

// Grant makes a token good for a member.
func (s *Server) Grant(token, member string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members[token] = member
}

// Revoke makes it good for nothing.
func (s *Server) Revoke(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.members, token)
}

// Posts are what was posted.
func (s *Server) Posts() []Post {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Post(nil), s.posts...)
}

// Comments are what was commented.
func (s *Server) Comments() []Comment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Comment(nil), s.comments...)
}

// Requests are method and path of all there were.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...)
}

// checked looks at what every request must have.
func (s *Server) checked(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		version := r.Header.Get("LinkedIn-Version")
		switch {
		case s.member(r) == "":
			refuse(w, 401, "REVOKED_ACCESS_TOKEN", 65601, "The token used in the request has been revoked by the user")
		case !strings.HasPrefix(r.URL.Path, "/rest/"):
			next.ServeHTTP(w, r)
		case version == "":
			refuse(w, 400, "VERSION_MISSING", 0, "A version must be present.")
		case version < OldestVersion:
			refuse(w, 426, "NONEXISTENT_VERSION", 0, "Requested version "+version+"01 is not active")
		case r.Header.Get("X-Restli-Protocol-Version") != "2.0.0":
			refuse(w, 400, "ILLEGAL_ARGUMENT", 0, "X-Restli-Protocol-Version must be 2.0.0")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// member is who a request is from; "": nobody.
func (s *Server) member(r *http.Request) string {
	bearer := r.Header.Get("Authorization")
	s.mu.Lock()
	id := s.members[strings.TrimPrefix(bearer, "Bearer ")]
	s.mu.Unlock()
	if id != "" || s.Issuer == "" {
		return id
	}
	ask, err := http.NewRequestWithContext(r.Context(), http.MethodGet, s.Issuer+"/v2/userinfo", http.NoBody)
	if err != nil {
		return ""
	}
	ask.Header.Set("Authorization", bearer)
	resp, err := http.DefaultClient.Do(ask)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	var who struct{ Sub string }
	_ = json.NewDecoder(resp.Body).Decode(&who) // of a refusal there is none
	return who.Sub
}

func refuse(w http.ResponseWriter, status int, code string, service int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	said := map[string]any{"status": status, "code": code, "message": message}
	if service != 0 {
		said["serviceErrorCode"] = service
	}
	_ = json.NewEncoder(w).Encode(said)
}

func (s *Server) userInfo(w http.ResponseWriter, r *http.Request) {
	id := s.member(r)
	_ = json.NewEncoder(w).Encode(map[string]string{"sub": id, "name": "Member " + id})
}

// share is a post, as it is sent.
type share struct {
	Author, Commentary, Visibility, LifecycleState string
	Distribution                                   struct{ FeedDistribution string }
	Content                                        struct {
		Media      *sentImage
		MultiImage *struct{ Images []sentImage }
	}
}

type sentImage struct{ ID, AltText string }

// images are those of the post; ok: there is one, or more by the member for that.
func (s *share) images() (all []Image, ok bool) {
	if s.Content.Media != nil {
		all = append(all, Image{s.Content.Media.ID, s.Content.Media.AltText})
	}
	if s.Content.MultiImage != nil {
		for _, i := range s.Content.MultiImage.Images {
			all = append(all, Image{i.ID, i.AltText})
		}
		return all, len(all) > 1 && s.Content.Media == nil
	}
	return all, true
}

func (s *Server) post(w http.ResponseWriter, r *http.Request) {
	var in share
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		refuse(w, 400, "INVALID_ARGUMENT", 0, err.Error())
		return
	}
	images, ok := in.images()
	switch {
	case in.Author != "urn:li:person:"+s.member(r):
		refuse(w, 403, "ACCESS_DENIED", 100, "Data Processing Exception while processing fields [/author]")
		return
	case !ok, in.Visibility != "PUBLIC", in.LifecycleState != "PUBLISHED", in.Distribution.FeedDistribution != "MAIN_FEED":
		refuse(w, 422, "INVALID", 0, "content, visibility, lifecycleState or distribution")
		return
	}
	p := Post{Author: in.Author, Images: images}
	p.Text, p.Tags = Read(in.Commentary)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range p.Images {
		if u := s.images[i.URN]; u == nil || len(u.bytes) == 0 || u.looks < s.Looks {
			refuse(w, 400, "MEDIA_ASSET_WAITING_UPLOAD", 0, i.URN+" is not available")
			return
		}
	}
	// What LinkedIn compares is not documented. That it is author and text is our reading of what others have reported:
	// that images don't count is nothing that this shows.
	for _, other := range s.posts {
		if other.Author == p.Author && other.Text == p.Text {
			refuse(w, 422, "DUPLICATE_POST", 0, "Content is a duplicate of "+other.URN)
			return
		}
	}
	p.URN = fmt.Sprintf("urn:li:share:%d", 7_000_000_000_000_000_000+len(s.posts))
	s.posts = append(s.posts, p)
	w.Header().Set("x-restli-id", p.URN)
	w.WriteHeader(http.StatusCreated)
}

func (s *Server) initializeUpload(w http.ResponseWriter, r *http.Request) {
	var in struct {
		InitializeUploadRequest struct{ Owner string }
	}
	if json.NewDecoder(r.Body).Decode(&in) != nil || r.URL.Query().Get("action") != "initializeUpload" ||
		in.InitializeUploadRequest.Owner != "urn:li:person:"+s.member(r) {
		refuse(w, 400, "INVALID_ARGUMENT", 0, "owner")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	urn := fmt.Sprintf("urn:li:image:C%d", len(s.images)+1)
	s.images[urn] = &upload{number: len(s.images) + 1}
	_ = json.NewEncoder(w).Encode(map[string]any{"value": map[string]any{
		"uploadUrl": s.URL + "/upload/" + urn, "image": urn,
	}})
}

func (s *Server) putImage(w http.ResponseWriter, r *http.Request) {
	bytes, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.images[r.PathValue("urn")].bytes = bytes
	w.WriteHeader(http.StatusCreated)
}

func (s *Server) image(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.URL.RequestURI(), "urn%3A") {
		refuse(w, 400, "ILLEGAL_ARGUMENT", 0, "URNs in paths are encoded")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.images[r.PathValue("urn")]
	status := "AVAILABLE"
	switch {
	case u == nil:
		refuse(w, 404, "NOT_FOUND", 0, "no such image")
		return
	case u.number == s.Broken:
		status = "PROCESSING_FAILED"
	case u.looks < s.Looks:
		u.looks++
		status = "PROCESSING"
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"status": status})
}

func (s *Server) comment(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Actor, Object string
		Message       struct{ Text string }
	}
	urn := r.PathValue("urn")
	if json.NewDecoder(r.Body).Decode(&in) != nil || !strings.Contains(r.URL.RequestURI(), "urn%3A") ||
		in.Object != urn || in.Actor != "urn:li:person:"+s.member(r) {
		refuse(w, 400, "INVALID_ARGUMENT", 0, "actor or object")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.comments = append(s.comments, Comment{urn, in.Actor, in.Message.Text})
	w.Header().Set("x-restli-id", fmt.Sprint(len(s.comments)))
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]string{
		"commentUrn": fmt.Sprintf("urn:li:comment:(%s,%d)", urn, len(s.comments)),
	})
}
