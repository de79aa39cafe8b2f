/*
 * Copyright The letmepost-operator Authors.
 * SPDX-License-Identifier: Apache-2.0
 *
 * What becomes of what a key has queued when its ApiKey is deleted with cancel-scheduled, by docs/revocation.md: two
 * replicas of the key's environment, their database, a controller, and one key, which may have leaked before.
 *
 *   by default    when the ApiKey is gone, nothing is queued with its key, and nothing comes to be
 *   -DTURN_Cn     rule n turned round. Each finds a violation.
 *
 * Nothing is limited in number. Watches lag: whoever does not take the step has not got it. A replica that is cut off
 * stops accepting before its Lease runs out, which is revocation.pml's; here both are one step. So is a write with a key
 * that has begun: a replica refuses the key when the last one is over.
 */

#define SERVES  1
#define REFUSES 2

/* ---- the apiserver ---- */

#define SERVED   1
#define MARKED   2 /* its status says that it has leaked */
#define DELETING 3
#define GONE     4
byte phase = SERVED;
bool unaccepted; /* its status says that no replica accepts the key: AwaitingCancellation */
bool names[2];   /* the Lease of a replica names the key as one that is refused, */
bool says[2];    /* and as one whose posts are canceled */

/* ---- the database ---- */

bool queued; /* a post of the key is to go out */

/* ---- a replica ---- */

bool up[2];
bool cutOff[2];  /* it hears nothing, its fence is shut, and its Lease has run out */
byte idx[2];
bool deleted[2]; /* it has seen the deletion, */
bool told[2];    /* and that no replica accepts the key */
bool work[2];    /* it has still to cancel what the key has queued */
#define CURRENT (phase == SERVED -> SERVES : REFUSES)

/* ---- the controller ---- */

bool decided;
#define REFUSED(r) (!up[r] || cutOff[r] || names[r])

inline take(r) {
    idx[r] = CURRENT;
    if
    :: phase == DELETING && (!deleted[r] || unaccepted && !told[r]) ->
        work[r] = true; deleted[r] = true; told[r] = unaccepted
    :: else
    fi
}

proctype replica(byte r) {
end:
    do
    :: d_step { !up[r] ->
        up[r] = true; cutOff[r] = false;
#ifndef TURN_C3 /* a replica that starts cancels nothing of what was deleted before */
        deleted[r] = false; told[r] = false; work[r] = false;
#else
        deleted[r] = phase == DELETING; told[r] = unaccepted; work[r] = false;
#endif
        take(r); printf("replica %d: starts, and lists\n", r) }
    :: d_step { up[r] -> up[r] = false; printf("replica %d: is killed\n", r) }
    :: d_step { !up[r] && (names[r] || says[r]) ->
        names[r] = false; says[r] = false; printf("world: the Lease of replica %d is gone\n", r) }
    :: d_step { up[r] && !cutOff[r] -> cutOff[r] = true; printf("replica %d: is cut off, and its Lease runs out\n", r) }
    :: d_step { up[r] && cutOff[r] -> cutOff[r] = false; take(r); printf("replica %d: registers again, and lists\n", r) }
    :: d_step { up[r] && !cutOff[r] -> take(r); printf("replica %d: its watch brings the ApiKey as it is now\n", r) }
    :: d_step { up[r] && !cutOff[r] && idx[r] == SERVES ->
        queued = true; printf("replica %d: queues a post with the key\n", r); assert(phase != GONE) }
    :: d_step { up[r] && work[r] ->
        /* step Withdraw: internal/authn (*Index).withdrawAgain */
        queued = false; work[r] = false; printf("replica %d: cancels what the key has queued\n", r) }
#ifdef TURN_C2 /* a replica says that it has canceled what it is about to cancel */
    :: d_step { up[r] && !cutOff[r] && idx[r] == REFUSES && !names[r] ->
#else
    :: d_step { up[r] && !cutOff[r] && idx[r] == REFUSES && !work[r] ->
#endif
        names[r] = true;
#ifdef TURN_C1 /* who refuses the key, and has canceled what it found, says so whether others accept the key or not */
        says[r] = deleted[r];
#else
        says[r] = told[r];
#endif
        printf("replica %d: writes its Lease: refused, canceled %d\n", r, says[r]) }
    od
}

proctype controller() {
end:
    do
    :: d_step { phase == DELETING && REFUSED(0) && REFUSED(1) && !decided ->
        decided = true; printf("controller: no replica accepts the key\n") }
    :: d_step { decided && !unaccepted ->
        unaccepted = true; printf("controller: says so in the status\n") }
    :: d_step { decided -> decided = false; printf("controller: restarts\n") }
#ifdef TURN_C4 /* who refuses the key counts as one that has canceled what it has queued */
    :: d_step { decided && (names[0] || names[1]) ->
#else
    :: d_step { decided && (says[0] || says[1]) ->
#endif
        /* step Canceled: internal/revocation (*Barrier).noteCanceled */
        phase = GONE; decided = false; printf("controller: lets the ApiKey go\n") }
    :: d_step { phase == GONE && queued -> printf("world: a post goes out whose key is gone\n"); assert(false) }
    od
}

proctype user() {
end:
    do
    :: d_step { phase == SERVED -> phase = MARKED; printf("controller: marks the ApiKey, whose key has leaked\n") }
    :: d_step { phase == SERVED || phase == MARKED -> phase = DELETING; printf("user: deletes the ApiKey\n") }
    od
}

init {
    atomic { run replica(0); run replica(1); run controller(); run user() }
}
