/*
 * Copyright The letmepost-operator Authors.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The revocation protocol of docs/revocation.md: two replicas, two keys, a controller, an apiserver. README.md, beside this
 * file, says how to run it.
 *
 *   by default    safety: no replica accepts a key whose object is gone
 *   -DLIVENESS    every deletion completes, under weak fairness, once faults have ended but those that last
 *   -DTURN_Rn     rule n turned round; -DTURN_Ln, with -DLIVENESS, another. Each finds a violation,
 *   -DALONE       even with one replica and one key.
 *
 * What the product does stands after a comment "step Name: package function". The function's doc comment says "Model: step
 * Name."; model_test.go holds the two together. All else is the world: users, networks, time.
 *
 * Nothing is limited in number: replicas register, renew, lapse, leave and come back, controllers restart, events are
 * swallowed, answers are lost and time passes as often as the search likes. A pause, a crash, a partition and a lagging
 * watch are the same thing: somebody takes no step for a while, or for ever, and time goes on. The state space is finite
 * all the same, because
 *   - a key goes through its life once; its UID never comes back;
 *   - ages stop at the first value from which on they make no difference;
 *   - a replica has one renewal under way at a time: one goroutine sends them all;
 *   - resourceVersions are no numbers here: whether a store is past the deletion of a key is a bit.
 *
 * What is one step here and several in the world, and why that hides no violation:
 *   - A renewal is sent and arrives. One that travels is older when it arrives, so the fence shuts sooner, and it claims less
 *     than is true by then. One that arrives after its sender gave it up brings old claims, and makes its Lease look fresh.
 *     All that only waits longer and refuses more.
 *   - A list is sent, answered and applied. When it lets the fence open, the fence is shut meanwhile; when a replica lists
 *     that serves, a list that is applied late is here an event that is delivered late.
 *   - An event is applied, and noted as applied. In between, less is claimed than is true. (R4 turned round cuts it apart.)
 *   - An event that is swallowed is one that never comes. That the store goes past it all the same only counts for whoever
 *     counts it, so it is told apart with R9 turned round only.
 *   - The controller lists the Leases, observes, and decides. It reads the clock for the decision before it sends the list,
 *     and for what it observes after: both make Leases younger than here. (R12 turned round cuts it apart.) The finalizer is
 *     lifted in a step of its own, any time later, even by a controller that has restarted or does not lead any more.
 *   - Two controllers that overlap exchange no observations, so each is as good as alone. One is followed here; what another
 *     has decided and not done yet is what stays behind when this one restarts.
 *   - A process that comes back after a crash is a new one, with a Lease of its own: here, the other replica.
 */

/* ---- time, in ticks of all clocks: they go equally fast, as what they drift comes off L - F ---- */

/* A fence may be open at F and not after; a Lease may have expired at L and not before. An age of n ticks is more than n-1
   and less than n+1, so these are the widest limits: already F = L is too much. */
#define F      1
#ifdef TURN_R6
#define L      1
#else
#define L      2
#endif
#define SHUT   2 /* an age at which every fence is shut */
#define NONE   2 /* no answer is under way, or one too late to matter */
#define UNSEEN 3 /* the controller has not seen this renewal */

/* ---- keys, as the apiserver has them ---- */

#define CREATED   0
#define PROTECTED 1 /* has the finalizer */
#define SERVED    2 /* has the finalizer and status.hash */
#define DELETING  3 /* has a deletionTimestamp */
#define GONE      4
#define BARE      5 /* has status.hash and no finalizer: somebody took it off */
#ifdef LIVENESS
byte phase[2] = SERVED; /* how it came to be served has no part in its end */
#else
byte phase[2];
#endif
bool decided[2]; /* somebody is about to lift the finalizer */

/* ---- replicas: a replica r's index has idx[r * 2 + k] of key k ---- */

#define ABSENT  0
#define SERVES  1
#define REFUSES 2
#define LOST    3 /* SERVES, and the watch has gone past the deletion without bringing it */
byte idx[4];
#define INDEX(r, k) idx[(r) * 2 + (k)]
#ifdef LIVENESS
#define CURRENT(k) (phase[k] == DELETING -> REFUSES : ABSENT) /* no request comes, and whoever does not refuse is alike */
#else
#define CURRENT(k) (phase[k] == SERVED || phase[k] == BARE -> SERVES : (phase[k] == DELETING -> REFUSES : ABSENT))
#endif

#define OUT     0 /* not registered, or not any more */
#define REG     1 /* the registration has arrived, its answer is under way */
#define STARTED 2 /* registered, and has not listed since */
#define LISTED  3
#define OPEN    4
byte stage[2];
byte fence[2] = SHUT; /* ticks since the last successful renewal was sent */
byte sent[2]  = NONE; /* ticks since the renewal was sent whose answer is under way */

/* ---- Leases, as the apiserver has them ---- */

#define NOTHING 0
#define PASSED  1 /* the store has applied all up to the deletion of the key, but the key is not named */
#define NAMED   2 /* and the key is named as revoked */
bool lease[2];
byte says[4];
#define SAYS(r, k) says[(r) * 2 + (k)]

/* ---- the controller ---- */

byte seen[2] = UNSEEN; /* ticks since it first saw the renewal that is on the Lease */

#ifndef LIVENESS
bool knows[4]; /* it has seen replica r name key k */
#define KNOWN(r, k) knows[(r) * 2 + (k)]
#else
#define KNOWN(r, k) false
#endif

/* ---- rules turned round ---- */

#ifdef TURN_R1 /* list, register, serve */
bool listed[2];
#define AFTER_REG LISTED
#else
#define AFTER_REG STARTED
#endif

#ifdef TURN_R2 /* a list may come from the past */
bool hashed[2];
#endif

#ifdef TURN_R3 /* the controller decides by its cache of Leases */
bool leaseSeen[2];
byte saysSeen[4];
#define LEASE(r)   leaseSeen[r]
#define CLAIM(r,k) saysSeen[(r) * 2 + (k)]
#else
#define LEASE(r)   lease[r]
#define CLAIM(r,k) SAYS(r, k)
#endif

#ifdef TURN_R4 /* a deletion is noted, then applied */
bool heard[4];
#define NOTED(r, k) heard[(r) * 2 + (k)]
#else
#define NOTED(r, k) (INDEX(r, k) == REFUSES)
#endif

#ifdef TURN_R8 /* a replica renews on after its deadline, and the answer opens the fence again */
#define IN_TIME(r) true
#else
#define IN_TIME(r) (fence[r] <= F)
#endif

#ifdef TURN_R9 /* that the store is past the deletion is enough */
#define CONFIRMS(r, k) (CLAIM(r, k) != NOTHING)
#define BOOKMARKS
#else
#define CONFIRMS(r, k) (CLAIM(r, k) == NAMED || KNOWN(r, k))
#endif

#ifdef TURN_R10 /* only a timer shuts the fence: the step Lapse */
#define ALLOWS(r) (stage[r] == OPEN)
#else
#define ALLOWS(r) (stage[r] == OPEN && fence[r] <= F)
#endif

#ifdef TURN_R11 /* expiry counts from the time that is written on the Lease, by a clock a tick behind the controller's */
byte written[2];
#define EXPIRED(r) (written[r] >= L)
#else
#define EXPIRED(r) (seen[r] == L)
#endif

#ifdef TURN_R12 /* expiry is judged at the moment of the decision, by a list from before */
bool asking[2];  /* for key k, the Leases have been listed: */
bool awaited[4]; /* replica r is awaited unless expired, */
byte ages[4];    /* and its renewal on the list is so old by now */
#endif

#define FREE(r, k) (!LEASE(r) || CONFIRMS(r, k) || EXPIRED(r))

/* ---- liveness ---- */

#ifdef LIVENESS
bool calm; /* faults have ended, all but these: */
#define DEAF   0 /* the watch never brings a deletion; what it did bring, it brought before */
#define NOLIST 1 /* and lists never succeed */
#define DEAD   2 /* crashed, or cut off for good */
byte health[2];
#define ALIVE(r) (!calm || health[r] != DEAD)

#define WORD     1 /* the controller's word is on the Lease */
#define READ     2 /* the replica has read it, and is to list */
byte obey[2];
bool barred[2];  /* the replica could renew and not list: it is to list before it registers */

#define FAULTS         (!calm)
#define MAY_LIST(r)    (ALIVE(r) && (!calm || health[r] == DEAF) && (stage[r] == STARTED || obey[r] == READ || barred[r]))
#ifdef TURN_L3 /* a replica that can renew and not list goes on renewing */
#define STUCK(r)       false
#else
#define STUCK(r)       (calm && health[r] == NOLIST && (stage[r] == STARTED || obey[r] == READ))
#endif
#define MAY_JOIN(r)    (ALIVE(r) && !barred[r])
#define MAY_RENEW(r)   (FAULTS || (ALIVE(r) && !STUCK(r) && (fence[r] >= F || NEWS(r))))
#define NEWS(r)        (CLAIMED(r, 0) != SAYS(r, 0) || CLAIMED(r, 1) != SAYS(r, 1)) /* else the timer is awaited */
#define MAY_GIVE_UP(r) (ALIVE(r) && (FAULTS || STUCK(r)))
/* Who is well answers and renews within a tick, but may take for ever to list. */
#define DUE(r)         (health[r] != DEAD && (sent[r] <= F || (stage[r] >= STARTED && fence[r] >= F)))
#define MAY_TICK       (!calm || (!DUE(0) && !DUE(1)))
#define AT_FIRST       0    /* whatever comes later here is a matter of time: to see a renewal, */
#define AFTER_LIST     OPEN /* to open the fence, and to lift the finalizer, in the step Decide */
#else
#define ALIVE(r)       true
#define FAULTS         true
#define MAY_LIST(r)    (stage[r] >= STARTED) /* unasked: more than the replica does */
#ifdef TURN_R1
#define MAY_JOIN(r)    listed[r]
#else
#define MAY_JOIN(r)    true
#endif
#define MAY_RENEW(r)   IN_TIME(r)
#define MAY_GIVE_UP(r) true
#define MAY_TICK       true
#define AT_FIRST       UNSEEN
#define AFTER_LIST     LISTED
#endif

/* ---- a key, from its creation until a user deletes it ---- */

/* Keys are alike: the first one to be deleted may be called 0. */
#define MAY_DELETE(k) (k == 0 || phase[0] >= DELETING)

inline forget(k) { /* nobody asks about a key that is gone, and to refuse it is the same as not to have it */
    SAYS(0, k) = NOTHING;
    SAYS(1, k) = NOTHING;
#ifndef LIVENESS
    KNOWN(0, k) = false;
    KNOWN(1, k) = false;
#endif
    if :: INDEX(0, k) == REFUSES -> INDEX(0, k) = ABSENT :: else fi;
    if :: INDEX(1, k) == REFUSES -> INDEX(1, k) = ABSENT :: else fi
}

proctype key(byte k) {
end:
    do
#ifndef LIVENESS
    :: d_step { phase[k] == CREATED && MAY_DELETE(k) ->
        phase[k] = GONE; printf("user: deletes key %d, which has neither finalizer nor hash and is gone at once\n", k) }
#ifndef TURN_R7
    :: d_step { phase[k] == CREATED ->
        /* step Protect: internal/controller (*apiKeys).protect */
        phase[k] = PROTECTED; printf("controller: puts the finalizer on key %d\n", k) }
    :: d_step { phase[k] == PROTECTED && MAY_DELETE(k) ->
        phase[k] = DELETING; printf("user: deletes key %d, which has no hash yet\n", k) }
    :: d_step { phase[k] == SERVED ->
        phase[k] = BARE; printf("user: takes the finalizer off key %d\n", k) }
    :: d_step { phase[k] == BARE ->
        phase[k] = SERVED; printf("controller: puts the finalizer back on key %d\n", k) }
    /* The policy refuses to delete a key without it, and to take it off one that is being deleted. */
#ifdef TURN_R13 /* a key without the finalizer may be deleted */
    :: d_step { phase[k] == BARE ->
        phase[k] = GONE; forget(k); printf("user: deletes key %d, which has no finalizer and is gone at once\n", k) }
#endif
#ifdef TURN_R14 /* whoever replaces a key that is being deleted takes the finalizer off */
    :: d_step { phase[k] == DELETING ->
        phase[k] = GONE; decided[k] = false; forget(k);
        printf("user: replaces key %d, which is being deleted, without its finalizer, and is gone at once\n", k) }
#endif
    :: d_step { phase[k] == PROTECTED ->
        /* step Hash: internal/controller (*apiKeys).writeStatus */
        phase[k] = SERVED; printf("controller: writes the hash of key %d\n", k);
#ifdef TURN_R2
        hashed[k] = true;
#endif
        }
#else
    :: d_step { phase[k] == CREATED ->
        phase[k] = BARE; printf("controller: writes the hash of key %d\n", k) }
    :: d_step { phase[k] == BARE && MAY_DELETE(k) ->
        phase[k] = GONE; forget(k); printf("user: deletes key %d, which has no finalizer and is gone at once\n", k) }
    :: d_step { phase[k] == BARE ->
        phase[k] = SERVED; printf("controller: puts the finalizer on key %d\n", k) }
#endif
#endif
    :: d_step { FAULTS && phase[k] == SERVED && MAY_DELETE(k) ->
        phase[k] = DELETING; printf("user: deletes key %d\n", k) }
    od
}

/* ---- a replica's feed ---- */

#ifndef TURN_R4
#define EVENT(k) \
    :: d_step { ALIVE(r) && FAULTS && INDEX(r, k) != CURRENT(k) && (INDEX(r, k) != LOST || phase[k] == GONE) -> \
        INDEX(r, k) = CURRENT(k); printf("replica %d: its watch brings key %d as it is now\n", r, k) }
#else
#define EVENT(k) \
    :: d_step { INDEX(r, k) != CURRENT(k) && INDEX(r, k) != LOST && phase[k] != DELETING -> \
        INDEX(r, k) = CURRENT(k); printf("replica %d: its watch brings key %d as it is now\n", r, k) } \
    :: d_step { INDEX(r, k) == SERVES && phase[k] == DELETING && !NOTED(r, k) -> \
        NOTED(r, k) = true; printf("replica %d: notes the deletion of key %d\n", r, k) } \
    :: d_step { INDEX(r, k) == SERVES && NOTED(r, k) -> \
        INDEX(r, k) = REFUSES; printf("replica %d: applies the deletion of key %d\n", r, k) }
#endif

#define BOOKMARK(k) \
    :: d_step { INDEX(r, k) == SERVES && phase[k] == DELETING -> \
        INDEX(r, k) = LOST; printf("replica %d: its watch goes past the deletion of key %d without bringing it\n", r, k) }

proctype feed(byte r) {
end:
    do
    /* step Apply: internal/authn (*follower).Update, internal/authn (*follower).Delete */
    EVENT(0)
    EVENT(1)
    /* step Bookmark: internal/authn (*follower).Bookmark */
#ifdef BOOKMARKS
    BOOKMARK(0)
    BOOKMARK(1)
#endif
    /* step List: internal/revocation (*Replica).relist, internal/authn (*Feed).Relist */
    :: atomic { MAY_LIST(r) ->
#ifdef TURN_R2
        if
        :: INDEX(r, 0) = CURRENT(0); INDEX(r, 1) = CURRENT(1); printf("replica %d: lists\n", r)
        :: hashed[0] -> INDEX(r, 0) = SERVES; printf("replica %d: lists, and gets key 0 as it once was\n", r)
        fi;
#else
        INDEX(r, 0) = CURRENT(0);
        INDEX(r, 1) = CURRENT(1);
        printf("replica %d: lists\n", r);
#endif
#ifdef TURN_R4
        NOTED(r, 0) = INDEX(r, 0) == REFUSES;
        NOTED(r, 1) = INDEX(r, 1) == REFUSES;
#endif
#ifdef LIVENESS
        obey[r] = 0;
        barred[r] = false;
#endif
        if :: stage[r] == STARTED -> stage[r] = AFTER_LIST :: else fi }
#ifdef TURN_R1
    :: d_step { stage[r] == OUT && !listed[r] ->
        INDEX(r, 0) = CURRENT(0); INDEX(r, 1) = CURRENT(1); listed[r] = true; printf("replica %d: lists\n", r) }
#endif
    od
}

/* ---- a replica ---- */

#define CLAIMED(r, k) (phase[k] != DELETING -> NOTHING : (NOTED(r, k) -> NAMED : (INDEX(r, k) == LOST -> PASSED : NOTHING)))

inline publish(r) { /* a renewal is sent, and arrives */
    /* step Applied: internal/authn (*Feed).Applied */
    SAYS(r, 0) = CLAIMED(r, 0);
    SAYS(r, 1) = CLAIMED(r, 1);
    /* step Publish: internal/revocation (*Replica).patch */
    lease[r] = true;
    seen[r] = AT_FIRST;
#ifdef TURN_R11
    written[r] = 1;
#endif
    sent[r] = 0
}

inline answered(r) {
#ifdef TURN_R5
    fence[r] = 0;
#else
    fence[r] = sent[r];
#endif
#ifdef LIVENESS
    /* step Obey: internal/revocation (*Replica).obey */
    if :: obey[r] == WORD -> obey[r] = READ :: else fi;
#endif
    sent[r] = NONE
}

inline shut(r) {
    stage[r] = OUT;
    fence[r] = SHUT;
    sent[r] = NONE
}

proctype replica(byte r) {
end:
    do
    /* step Join: internal/revocation (*Replica).join */
    /* step Register: internal/revocation (*Replica).register */
    :: d_step { stage[r] == OUT && MAY_JOIN(r) ->
#ifdef TURN_R1
        listed[r] = false;
#endif
        publish(r); stage[r] = REG; printf("replica %d: registers\n", r) }
    :: d_step { ALIVE(r) && stage[r] == REG && sent[r] <= F ->
        answered(r); stage[r] = AFTER_REG; printf("replica %d: its registration is answered\n", r) }
    :: d_step { ALIVE(r) && stage[r] == REG && (FAULTS || sent[r] > F) ->
        shut(r); printf("replica %d: its registration is not answered in time\n", r) }
#ifndef LIVENESS
    :: d_step { stage[r] == LISTED && fence[r] <= F ->
        /* step Open: internal/revocation (*fence).open */
        stage[r] = OPEN; printf("replica %d: opens its fence\n", r) }
#endif
    :: d_step { stage[r] >= STARTED && sent[r] == NONE && lease[r] && MAY_RENEW(r) ->
        /* step Renew: internal/revocation (*Replica).renew */
        publish(r); printf("replica %d: sends a renewal, which arrives\n", r) }
#if !defined(LIVENESS) && !defined(ALONE)
    /* There is not room for all names on a Lease. Which are left out is for replica and controller to choose. */
    :: d_step { stage[r] >= STARTED && sent[r] == NONE && lease[r] && MAY_RENEW(r) && NOTED(r, 0) && NOTED(r, 1) ->
        publish(r); SAYS(r, 0) = NOTHING; printf("replica %d: sends a renewal that names key 1 only, which arrives\n", r) }
    :: d_step { stage[r] >= STARTED && sent[r] == NONE && lease[r] && MAY_RENEW(r) && NOTED(r, 0) && NOTED(r, 1) ->
        publish(r); SAYS(r, 1) = NOTHING; printf("replica %d: sends a renewal that names key 0 only, which arrives\n", r) }
#endif
    :: d_step { ALIVE(r) && stage[r] >= STARTED && sent[r] <= F && IN_TIME(r) ->
        /* step Extend: internal/revocation (*fence).extend */
        answered(r); printf("replica %d: its renewal is answered\n", r) }
    :: d_step { FAULTS && stage[r] >= STARTED && sent[r] <= F ->
        sent[r] = NONE; printf("replica %d: the answer to its renewal is lost\n", r) }
    :: d_step { ALIVE(r) && stage[r] >= STARTED && (fence[r] > F || !lease[r]) ->
        /* step Lapse: internal/revocation (*fence).passed */
        shut(r); printf("replica %d: notices that it is past its deadline, or has no Lease\n", r) }
    :: d_step { stage[r] >= STARTED && MAY_GIVE_UP(r) ->
        /* step GiveUp: internal/revocation (*Replica).keepInStep */
        shut(r);
#if defined(LIVENESS) && !defined(TURN_L2)
        barred[r] = true;
#endif
        printf("replica %d: can renew and not list, gives up\n", r) }
    :: d_step { FAULTS && stage[r] == OUT && lease[r] ->
        /* step Leave: internal/revocation (*Replica).leave */
        lease[r] = false; SAYS(r, 0) = NOTHING; SAYS(r, 1) = NOTHING; seen[r] = UNSEEN;
        /* and another process takes its place */
        INDEX(r, 0) = ABSENT; INDEX(r, 1) = ABSENT;
#ifndef LIVENESS
        KNOWN(r, 0) = false; KNOWN(r, 1) = false; /* its Lease has another name */
#endif
#ifdef LIVENESS
        obey[r] = 0; barred[r] = false;
#endif
        printf("replica %d: gives its Lease up, and ends; another begins\n", r) }
    od
}

/* A request comes. */
#define REQUEST(k) \
    :: d_step { ALLOWS(r) && (INDEX(r, k) == SERVES || INDEX(r, k) == LOST) -> \
        printf("replica %d: accepts key %d\n", r, k); assert(phase[k] != GONE) }

#ifndef LIVENESS
proctype accept(byte r) {
end:
    do
    /* step Accept: internal/revocation (*fence).allows, internal/authn (*Authenticator).Admit */
    REQUEST(0)
    REQUEST(1)
    od
}
#endif

/* ---- the controller ---- */

inline observe(r) {
    /* step Observe: internal/revocation (*Barrier).observe */
    if :: lease[r] && seen[r] == UNSEEN -> seen[r] = 0 :: else fi;
#ifndef LIVENESS
    if :: SAYS(r, 0) == NAMED -> KNOWN(r, 0) = true :: else fi;
    if :: SAYS(r, 1) == NAMED -> KNOWN(r, 1) = true :: else fi;
#endif
    skip
}

inline nudge(r, k) {
#if defined(LIVENESS) && !defined(TURN_L1)
    /* step Nudge: internal/revocation (*Barrier).Nudge */
    if :: !FREE(r, k) && obey[r] == 0 -> obey[r] = WORD :: else fi
#else
    skip
#endif
}

inline lift(k) {
    /* step Lift: internal/controller (*revocations).lift */
    decided[k] = false;
    phase[k] = GONE;
    forget(k);
    printf("controller: lifts the finalizer, key %d is gone\n", k)
}

proctype revoke(byte k) {
end:
    do
    /* step Revoke: internal/controller (*revocations).Reconcile */
#ifndef TURN_R12
    :: d_step { phase[k] == DELETING && !decided[k] ->
        /* step ListLeases: internal/revocation (*Barrier).list */
        observe(0);
        observe(1);
        /* step Decide: internal/revocation (*Barrier).Ask */
        decided[k] = FREE(0, k) && FREE(1, k);
        nudge(0, k);
        nudge(1, k);
        if
        :: decided[k] ->
            printf("controller: lists the Leases, awaits nobody for key %d\n", k);
#ifdef LIVENESS
            lift(k)
#endif
        :: else -> printf("controller: lists the Leases, goes on waiting for key %d\n", k)
        fi }
#else
    :: d_step { phase[k] == DELETING && !decided[k] && !asking[k] ->
        observe(0); awaited[k]     = lease[0] && !CONFIRMS(0, k); ages[k]     = seen[0];
        observe(1); awaited[2 + k] = lease[1] && !CONFIRMS(1, k); ages[2 + k] = seen[1];
        asking[k] = true; printf("controller: lists the Leases for key %d\n", k) }
    :: d_step { asking[k] ->
        decided[k] = (!awaited[k] || ages[k] == L) && (!awaited[2 + k] || ages[2 + k] == L);
        asking[k] = false; printf("controller: reads its clock, and decides on key %d\n", k) }
#endif
#ifndef LIVENESS
    :: d_step { decided[k] -> lift(k) }
#endif
    od
}

#ifndef LIVENESS
/* The watch of Leases, and all that goes on whether a deletion waits or not. */
proctype controller(byte r) {
end:
    do
#ifdef TURN_R3
    :: d_step { leaseSeen[r] = lease[r]; saysSeen[r * 2] = SAYS(r, 0); saysSeen[r * 2 + 1] = SAYS(r, 1); observe(r);
        printf("controller: its cache gets to replica %d\n", r) }
#endif
    :: d_step { lease[r] && (seen[r] == UNSEEN || SAYS(r, 0) == NAMED && !KNOWN(r, 0) || SAYS(r, 1) == NAMED && !KNOWN(r, 1)) ->
        observe(r); printf("controller: sees the renewal of replica %d\n", r) }
    :: d_step { seen[r] != UNSEEN ->
        /* To forget one replica is more than to forget both, which is what a restart does. */
        seen[r] = UNSEEN; KNOWN(r, 0) = false; KNOWN(r, 1) = false; printf("controller: restarts, knows nothing of replica %d\n", r) }
    :: d_step { lease[r] && EXPIRED(r) ->
        /* step Sweep: internal/revocation (*Barrier).Sweep */
        lease[r] = false; SAYS(r, 0) = NOTHING; SAYS(r, 1) = NOTHING; seen[r] = UNSEEN;
        printf("controller: sweeps up the Lease of replica %d\n", r) }
    od
}
#endif

/* ---- time ---- */

inline age(r) {
    if :: fence[r] < SHUT -> fence[r]++ :: else fi;
    if :: sent[r] < NONE -> sent[r]++ :: else fi;
    if :: seen[r] < L -> seen[r]++ :: else fi;
#ifdef TURN_R11
    if :: written[r] < L -> written[r]++ :: else fi;
#endif
#ifdef TURN_R12
    if :: ages[r * 2] < L -> ages[r * 2]++ :: else fi;
    if :: ages[r * 2 + 1] < L -> ages[r * 2 + 1]++ :: else fi;
#endif
    skip
}

proctype tick() {
end:
    do
    :: d_step { MAY_TICK -> age(0); age(1); printf("time passes\n") }
    od
}

#ifdef LIVENESS
/* Whatever can happen happens before, also the last deletion: those that have begun are to complete. From a moment on there are
   no faults but those that last. Let it be one at which time has just passed, as it does over and over. */
#define ENDS(a, b) \
    :: d_step { phase[0] >= DELETING -> \
        age(0); age(1); calm = true; health[0] = a; health[1] = b; \
        printf("world: time passes, faults end; what lasts is %d with replica 0, %d with replica 1\n", a, b) }; break

proctype faults() {
end:
    do
    :: d_step { lease[0] -> seen[0] = AT_FIRST; printf("controller: restarts, knows nothing of replica 0\n") }
    :: d_step { lease[1] -> seen[1] = AT_FIRST; printf("controller: restarts, knows nothing of replica 1\n") }
    /* Replicas are alike: these are all pairs. */
    ENDS(DEAF, DEAF)
    ENDS(DEAF, NOLIST)
    ENDS(DEAF, DEAD)
    ENDS(NOLIST, NOLIST)
    ENDS(NOLIST, DEAD)
    ENDS(DEAD, DEAD)
    od
}
#endif

init {
    atomic {
        run tick(); run key(0); run revoke(0); run feed(0); run replica(0);
#ifdef LIVENESS
        run faults();
#else
        run accept(0); run controller(0);
#endif
#ifndef ALONE
        run key(1); run revoke(1); run feed(1); run replica(1);
#ifndef LIVENESS
        run accept(1); run controller(1);
#endif
#endif
        skip
    }
}

#ifdef LIVENESS
/* Fairness ends the faults, so it is enough to look from then on. That saves the search a dozen copies of all states before. */
ltl completes { <> [] !(calm && (phase[0] == DELETING || phase[1] == DELETING)) }
#endif
