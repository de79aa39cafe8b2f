/*
 * Copyright The letmepost-operator Authors.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What becomes of a key that is reported as leaked, by docs/leaked-keys.md: two replicas, a controller, an apiserver, and
 * one key, whose ApiKey is deleted, applied or restored again and again, and whose leak is forgiven as often. Minted or
 * brought by its hash is the same here: whoever restores an ApiKey with its old status brings the key back, too.
 *
 *   by default    a replica that has answered a report never accepts the key again; when every replica has seen the
 *                 LeakedKey, none ever does, later ones included; and a report that was answered is not lost, nor
 *                 left lying when the controller has seen all there is: all this until the leak is forgiven. And no
 *                 replica accepts the key while its ApiKey is gone, forgiven or not
 *   -DTURN_Kn     rule n turned round. Each finds a violation.
 *
 * Nothing is limited in number. That a deletion is confirmed by every replica is revocation.pml's: here it is one step,
 * and what a Lease names stays named. Watches lag and lose events: whoever does not take the step has not got it. That
 * a store is past a deletion says nothing here: with several namespaces it may be past it in another one.
 *
 * What is not in it, and in the page under "What is not promised": an apiserver that is away for as long as a report
 * waits; a report of a key that is being deleted already. A leak is forgiven here when no report of it is under way.
 * A Lease is swept up long after it has expired (internal/revocation sweepAfter, five minutes at least since the
 * controller has seen it): by then its reports have been looked at, and tried again, by a controller that was there.
 */

#define ABSENT  0
#define SERVES  1
#define REFUSES 2 /* it is being deleted */
#define MARKS   3 /* it is marked */

/* ---- the apiserver ---- */

#define GONE     0
#define SERVED   1
#define MARKED   2 /* its status says that it has leaked */
#define DELETING 3
byte phase = SERVED;
bool leakedKey;
bool forgiven; /* there was a LeakedKey that somebody has deleted, and the ApiKey is not marked any more, or was not */
bool onLease[2]; /* the report stands on the Lease of a replica, */
bool left[2];    /* or on that of its predecessor, which has died */
bool names[2];   /* the Lease names the ApiKey as one that is refused for its deletion, or has done so */
#define TOLD (onLease[0] || left[0] || onLease[1] || left[1])

/* ---- a replica ---- */

bool up[2];
byte idx[2];
bool reported[2]; /* its index refuses the key because of a report */
bool seen[2];     /* and because of a LeakedKey, */
bool past[2];     /* or of one that is gone */
bool caller[2];   /* somebody waits for the answer */
bool receipt[2];  /* somebody has got it from this process */
#define CURRENT (phase == SERVED -> SERVES : (phase == GONE -> ABSENT : (phase == MARKED -> MARKS : REFUSES)))

/* ---- the controller ---- */

bool noted;     /* it knows of a report, and that it is of this key */
bool knowsKey;  /* its cache has the ApiKey, with the hash of the key, */
bool knowsTold; /* and the Leases as they stand */

/* ---- what is promised ---- */

bool answered;   /* somebody has got an answer */
bool everywhere; /* there was a moment at which every replica had seen the LeakedKey */

#define REPORTS(r) ((reported[r] || caller[r]) && !seen[r] && idx[r] != ABSENT)
/* step Name: internal/revocation NameOf */
#ifndef TURN_K8 /* a key has one name, whether it is refused for its deletion or for a leak */
#define NAMES(r)   (idx[r] == REFUSES && phase == DELETING)
#else
#define NAMES(r)   (idx[r] == REFUSES && phase == DELETING || idx[r] == MARKS)
#endif

inline look() {
    if :: leakedKey && (!up[0] || seen[0]) && (!up[1] || seen[1]) -> everywhere = true :: else fi
}

inline clear(r) {
    onLease[r] = false; names[r] = false; up[r] = false; idx[r] = ABSENT;
    reported[r] = false; seen[r] = false; past[r] = false; caller[r] = false; receipt[r] = false
}

proctype replica(byte r) {
end:
    do
    :: d_step { !up[r] ->
        up[r] = true; idx[r] = CURRENT;
#ifndef TURN_K5 /* a replica serves before it has listed the LeakedKeys */
        seen[r] = leakedKey;
#endif
        look(); printf("replica %d: starts, and lists\n", r) }
    :: d_step { up[r] ->
        left[r] = left[r] || onLease[r]; clear(r); look(); printf("replica %d: is killed\n", r) }
    :: d_step { up[r] && idx[r] != CURRENT ->
        idx[r] = CURRENT;
        if :: idx[r] == ABSENT -> caller[r] = false :: else fi; /* its caller waits in vain, and is told so */
        printf("replica %d: its watch brings the ApiKey as it is now\n", r) }
    :: d_step { up[r] && idx[r] == MARKS && forgiven ->
        idx[r] = SERVES; printf("replica %d: its watch brings the ApiKey as it was when it was forgiven\n", r) }
    :: d_step { up[r] && leakedKey && !seen[r] ->
        /* step Settle: internal/authn (*Index).PutLeak */
        seen[r] = true; reported[r] = false; look(); printf("replica %d: sees the LeakedKey\n", r) }
    :: d_step { up[r] && past[r] ->
        past[r] = false; printf("replica %d: sees that the LeakedKey is gone\n", r) }
    :: d_step { up[r] && idx[r] == SERVES && !seen[r] && !caller[r] ->
        /* step Report: internal/leak (*Reporter).end */
#ifndef TURN_K1 /* whoever reports is answered before the index refuses the key */
        reported[r] = true;
#endif
        caller[r] = true; printf("replica %d: somebody reports the key\n", r) }
#ifdef TURN_K1
    :: d_step { up[r] && receipt[r] -> reported[r] = true; printf("replica %d: its index refuses the key\n", r) }
#endif
    :: d_step { up[r] && (onLease[r] != REPORTS(r) || !names[r] && NAMES(r)) ->
        /* step Take: internal/leak (*Reporter).Take */
#ifndef TURN_K6 /* a key is named as refused by a write without what was reported before */
        onLease[r] = REPORTS(r);
#else
        onLease[r] = REPORTS(r) && !NAMES(r);
#endif
        names[r] = names[r] || NAMES(r); knowsTold = false; printf("replica %d: writes its Lease, with the report: %d, naming the key: %d\n", r, onLease[r], names[r]) }
#ifdef TURN_K2 /* the answer does not wait for the Lease */
    :: d_step { up[r] && caller[r] ->
#else
    :: d_step { up[r] && caller[r] && (onLease[r] || seen[r]) ->
#endif
        /* step Answer: internal/leak (*Reporter).answer */
        caller[r] = false; receipt[r] = true; answered = true; printf("replica %d: answers the report\n", r) }
    :: d_step { up[r] && onLease[r] == TOLD && !TOLD ->
        clear(r); look(); printf("replica %d: stops, and gives its Lease up\n", r) }
#ifdef TURN_K4 /* a replica that stops gives its Lease up with a report on it */
    :: d_step { up[r] && onLease[r] -> clear(r); look(); printf("replica %d: stops, and gives its Lease up\n", r) }
#endif
    :: d_step { up[r] && idx[r] == SERVES && !reported[r] && !seen[r] && !past[r] ->
        /* step Accept: internal/authn (*Authenticator).Admit */
        printf("replica %d: accepts the key\n", r); assert(!receipt[r] && !everywhere && phase != GONE) }
    od
}

/* What is known of a report: it stands on a Lease, or there is a LeakedKey of it. */
proctype kept() {
end:
    do
    :: d_step { answered && !leakedKey && !TOLD -> printf("world: a report that was answered is lost\n"); assert(false) }
    :: d_step { TOLD && !leakedKey && !noted && knowsKey && knowsTold ->
        printf("world: nothing is going to have the report looked at\n"); assert(false) }
    od
}

proctype controller() {
end:
    do
    :: d_step { !knowsTold ->
        /* step Note: internal/controller (*apiKeys).reportedOn */
        knowsTold = true; noted = noted || TOLD && knowsKey && !leakedKey;
        printf("controller: sees the Leases; a report is of this key: %d\n", noted) }
    :: d_step { phase != GONE && !knowsKey ->
        /* step Recall: internal/controller (*apiKeys).reportWaits */
        knowsKey = true;
#ifndef TURN_K7 /* a report is looked at when it is seen, and never again */
        noted = noted || TOLD && knowsTold && !leakedKey;
#endif
        printf("controller: sees the key; a report is of it: %d\n", noted) }
    :: d_step { noted && !leakedKey ->
        /* step TakeNote: internal/controller (*apiKeys).makeLeakedKey */
        leakedKey = true; noted = false; look(); printf("controller: makes the LeakedKey\n") }
    :: d_step { noted || knowsKey || knowsTold ->
        noted = false; knowsKey = false; knowsTold = false; printf("controller: restarts\n") }
    /* step EndLeaked: internal/controller (*apiKeys).endLeaked */
    :: d_step { leakedKey && phase == SERVED ->
        phase = DELETING; printf("controller: deletes the ApiKey, whose key was minted\n") }
    :: d_step { leakedKey && phase == SERVED ->
        phase = MARKED; printf("controller: marks the ApiKey, which brought its key\n") }
    :: d_step { !leakedKey && phase == MARKED ->
        phase = SERVED; forgiven = true; printf("controller: takes the mark off the ApiKey\n") }
#ifdef TURN_K3 /* a deletion is let go whatever has been reported */
    :: d_step { phase == DELETING && (!up[0] || names[0]) && (!up[1] || names[1]) ->
#else
    :: d_step { phase == DELETING && (!up[0] || names[0]) && (!up[1] || names[1]) && (leakedKey || !TOLD) ->
#endif
        /* step LetGo: internal/controller (*revocations).letGo */
        phase = GONE; noted = false; knowsKey = false; names[0] = false; names[1] = false; printf("controller: lets the ApiKey go\n") }
    :: d_step { left[0] && leakedKey -> left[0] = false; printf("controller: sweeps up the Lease of a dead replica\n") }
    :: d_step { left[1] && leakedKey -> left[1] = false; printf("controller: sweeps up the Lease of a dead replica\n") }
    od
}

proctype user() {
end:
    do
    :: d_step { phase == SERVED || phase == MARKED -> phase = DELETING; printf("user: deletes the ApiKey\n") }
    :: d_step { leakedKey && !TOLD && !caller[0] && !caller[1] ->
        leakedKey = false; answered = false; everywhere = false; receipt[0] = false; receipt[1] = false;
        past[0] = past[0] || seen[0]; past[1] = past[1] || seen[1]; seen[0] = false; seen[1] = false;
        printf("user: deletes the LeakedKey, which forgives the leak\n") }
    :: d_step { phase == GONE -> phase = SERVED; printf("user: restores the ApiKey with its old status\n") }
    od
}

init {
    atomic { run replica(0); run replica(1); run controller(); run user(); run kept() }
}
