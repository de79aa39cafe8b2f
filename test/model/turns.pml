/*
 * Copyright The letmepost-operator Authors.
 * SPDX-License-Identifier: Apache-2.0
 *
 * How places on a Lease, and what the controller asks for, are shared out among organizations: "A deletion waits for
 * nothing that another organization does" of docs/revocation.md, with its bound. One replica; what another one does is
 * left out, but that the deletions of all other organizations may last for ever because of it.
 *
 *   -DN=n         organizations that have deletions which are not over; the last one's, OURS, is followed
 *   -DTURN_Tn     rule n turned round. Each finds a violation.
 *
 * Numbers are small ones for 500 places (PLACES) and 250 that are asked for (ASKED). The world may do what it likes:
 * which of an organization's deletions is the oldest, who deletes more of them and when, which keys can't be named, and
 * who of equals comes first. All that is known of another organization is whether it has, now, a deletion that the
 * replica could name and has not (in[o]), or one that it is awaited for (late[o]).
 */

#define PLACES 4
#define ASKED  2
#ifndef N
#define N      5
#endif
#define OURS   (N - 1)
#define BOUND  ((N + ASKED - 1) / ASKED) /* turns of asking, at most */

bool in[N];    /* the replica can name a deletion of this organization that has not been named yet */
bool late[N];  /* the controller awaits one that is not on the Lease */
byte order[N]; /* organizations, the one first that was not asked for the longest */
bool asked[N]; /* what stands on the Lease as asked for, */
bool told[N];  /* and what the replica has read of it */
byte renewals; /* since the controller has asked, up to 2 */
byte turns;    /* since our deletion is awaited */
bool sure;     /* there was a renewal after our deletion */
bool named;    /* our deletion is on the Lease, and so is known to the controller for good */

/* Whom the controller asks for: those in order, or, turned round, anybody. */
#ifdef TURN_T1
#define NEXT(o, i) late[o] && !asked[o]
#else
#define NEXT(o, i) order[i] == o && late[o] && !asked[o]
#endif

/* A turn is over when the replica has had time to read and to answer. */
#ifdef TURN_T2
#define TURN_OVER true
#else
#define TURN_OVER (renewals == 2)
#endif

inline moveToEnd(o) {
    j = 0;
    do :: j < N && order[j] != o -> j++ :: else -> break od;
    do :: j < N - 1 -> order[j] = order[j + 1]; j++ :: else -> break od;
    order[N - 1] = o
}

proctype others() {
    byte o;
end:
    do
    :: atomic { !named ->
        select(o : 0 .. N - 2);
        if
        :: in[o] = !in[o]
        :: late[o] = !late[o]
        fi }
    :: d_step { !in[OURS] -> in[OURS] = true; printf("user: deletes ours\n") }
    od
}

proctype replica() {
    byte o, places, waiting;
    do
    /* step Room: internal/authn (*Feed).Applied, internal/turns Sort */
    :: atomic { !named ->
        /* What was asked for comes first. It may be another deletion of its organization, which leaves that one its turn. */
        places = PLACES;
        o = 0;
        do
        :: o < N && told[o] ->
            if
            :: o == OURS -> named = true
            :: o != OURS && places > 0 -> places--
            :: o != OURS /* it can't be named */
            fi;
            o++
        :: o < N && !told[o] -> o++
        :: else -> break
        od;
#ifdef TURN_T3 /* the oldest deletions of all: one organization may have them all */
        waiting = N + PLACES;
#else
        /* One of each organization, before the second of anybody. */
        waiting = 0;
        o = 0;
        do :: o < N && in[o] -> waiting++; o++ :: o < N && !in[o] -> o++ :: else -> break od;
#endif
        if
        :: in[OURS] && waiting <= places -> named = true; printf("replica: names ours, as there is room for one of each\n")
        :: in[OURS] && waiting > places && places > 0 -> named = true; printf("replica: names ours, which is among the oldest\n")
        :: !in[OURS] || waiting > places -> printf("replica: names others\n")
        fi;
        /* The answer to the renewal brings what stands on the Lease. */
        o = 0;
        do :: o < N -> told[o] = asked[o]; o++ :: else -> break od;
        if :: renewals < 2 -> renewals++ :: else fi;
        sure = in[OURS];
        printf("replica: its renewal is answered\n");
        assert(named || !sure || N > PLACES - ASKED) /* with fewer organizations, the next renewal names it */ }
    :: named -> break
    od
}

proctype controller() {
    byte o, i, j, n;
    do
    /* step Ask: internal/revocation (*replica).choose, internal/revocation (*replica).turnIsOver */
    :: atomic { !named && TURN_OVER ->
        late[OURS] = sure;
        o = 0;
        do :: o < N -> asked[o] = false; o++ :: else -> break od;
        n = 0;
        i = 0;
        do
        :: n < ASKED && i < N ->
            if
            :: NEXT(0, i) -> asked[0] = true; n++
            :: N > 1 && NEXT(1, i) -> asked[1] = true; n++
#if N > 2
            :: NEXT(2, i) -> asked[2] = true; n++
#endif
#if N > 3
            :: NEXT(3, i) -> asked[3] = true; n++
#endif
#if N > 4
            :: NEXT(4, i) -> asked[4] = true; n++
#endif
            :: else
            fi;
            i++
        :: else -> break
        od;
        o = 0;
        do :: o < N && asked[o] -> moveToEnd(o); o++ :: o < N && !asked[o] -> o++ :: else -> break od;
        renewals = 0;
        if
        :: sure -> turns++; printf("controller: turn %d, asks for ours: %d\n", turns, asked[OURS])
        :: else -> printf("controller: asks for others\n")
        fi;
        assert(turns <= BOUND) }
    :: named -> break
    od
}

init {
    atomic {
        byte o = 0;
        do :: o < N -> order[o] = o; o++ :: else -> break od;
        renewals = 2;
        run others(); run replica(); run controller()
    }
}

#ifdef LIVENESS
ltl ends { [] (in[OURS] -> <> named) }
#endif
