// Copyright The letmepost-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package dashboard

import (
	"github.com/letmepost/letmepost-operator/api/v1alpha1"
	"github.com/letmepost/letmepost-operator/internal/authn"
	"github.com/letmepost/letmepost-operator/internal/use"
)

// useShown is what a key is used for, as its page shows it. Without Charts, none of the rest is known but when this
// replica has seen the key (keyData.Used).
type useShown struct {
	Elsewhere bool // the other environment knows
	Partly    bool // it is only known when this replica has seen the key last
	LastHour  use.Count
	Charts    []useChart
	Replicas  []use.Replica
}

// useChart is a chart of bars, one for each period. Its measures are units of its own coordinates: bars are placed by
// attributes of an SVG, since the Content-Security-Policy allows no style in the markup.
type useChart struct {
	ID, Title, Layout       string // Layout is how the periods are written, as package time has it
	Width, Height, Baseline int
	Most                    int64 // requests in one period
	Total                   use.Count
	Bars                    []useBar
}

type useBar struct {
	use.Period
	X, Width      int
	Y, Height     int // of all requests
	RefusedHeight int // of those that were refused, from the top of it
}

const (
	chartWidth, chartHeight = 720, 120
	chartTop                = 8 // above the highest bar
)

// chartOf has a bar for each period, the oldest at the left, with two units between them. Heights are shares of the
// highest one (Most), so that two charts can't be compared by them.
func chartOf(id, title, layout string, periods []use.Period) useChart {
	c := useChart{ID: id, Title: title, Layout: layout, Width: chartWidth, Height: chartHeight, Baseline: chartHeight - 1}
	for _, p := range periods {
		c.Most = max(c.Most, p.Requests)
		c.Total.Requests += p.Requests
		c.Total.Refused += p.Refused
	}
	// Not zero, also where nothing is known of any period.
	step := chartWidth / max(1, len(periods))
	for i, p := range periods {
		b := useBar{Period: p, X: i * step, Width: step - 2, Height: c.scaled(p.Requests)}
		b.Y, b.RefusedHeight = c.Baseline-b.Height, min(b.Height, c.scaled(p.Refused))
		c.Bars = append(c.Bars, b)
	}
	return c
}

// scaled is how high a bar is. What is not nothing is to be seen.
func (c *useChart) scaled(n int64) int {
	if n == 0 || c.Most == 0 {
		return 0
	}
	return max(2, int(float64(n)/float64(c.Most)*float64(c.Baseline-chartTop)))
}

// addUseOf tells of one key what it is used for. Of a key of the other environment nothing is counted here, and what
// is read says nothing of it: see Elsewhere.
func (d *Dashboard) addUseOf(r *request, k *v1alpha1.ApiKey, data *keyData) {
	data.Use.Elsewhere = string(k.Spec.Environment) != string(d.config.Environment)
	if d.config.Use != nil {
		s, err := d.config.Use.Of(r.Context(), r.Caller(), string(k.UID))
		if err == nil {
			data.Used, data.Use.LastHour, data.Use.Replicas = s.LastUsedAt, s.LastHour, s.Replicas
			data.Use.Charts = []useChart{
				chartOf("day", "key.lastDay", "Jan 2, 15:04", s.Hours), chartOf("month", "key.lastMonth", "Jan 2", s.Days),
			}
			return
		}
		d.config.Logger.Error("What a key is used for can't be read", "requestId", r.id, "error", err)
	}
	data.Use.Partly = true
	if known := d.knownKey(r, k); known != nil {
		data.Used = known.LastUsedAt()
	}
}

// knownKey is a key as this replica knows it; nil: it does not. It looks through all keys of the organization, and so
// is for the page of a single one.
func (d *Dashboard) knownKey(r *request, k *v1alpha1.ApiKey) *authn.Key {
	for _, known := range d.config.Directory.Keys(r.Caller()) {
		if known.ID() == k.UID {
			return known
		}
	}
	return nil
}
