/* SPDX-License-Identifier: MIT */
/*
 * mark.pml: marking while the program runs, for spin: two threads, one marker or two
 * (MARKERS), three objects, one cycle, every interleaving.
 *
 * What it has of the collector: the begin stop with the snapshot and the plain root; stacks
 * captured before their threads go on, by the thread or a marker; the deletion barrier as a
 * section that is restarted after a stop; rings of one entry, emptied by their threads in an
 * operation or by the conductor, running or stopped; black new objects; termination with its
 * look for work (core/work.c: gca_work_left()) and its restart; a stop that is given up and
 * made again.  What it has not: memory order (each step is atomic, x86 is close), colours over
 * several cycles (selftests/unit/test_colour.c walks those), sweep, faults.
 *
 * At the end every object that is reachable and was there at the snapshot must be marked.
 *
 * Each -D below takes one step of the protocol out, and the model must then fail:
 *	NO_RECORD	a store records nothing
 *	NO_NULL		a store of NULL records nothing
 *	NO_CAPTURE	threads go on, their stacks are scanned when a marker comes to it
 *	PLAIN_LATE	the plain root is scanned while the world runs
 *	NO_ABORT	a section that a stop interrupted goes on where it was
 *	NO_GATE		a stop does not wait for operations
 *	NO_DRAIN	termination does not drain the rings in its stop
 *	NO_RECHECK	termination does not look for work in its stop
 *	NO_HANDS	nor at what markers have in hand
 *	NO_BEGUN	nor whether a marker has begun since it looked
 *	WHITE		new objects are white
 */
#ifndef OPS
#define OPS	2		/* steps of each thread's program */
#endif

#ifndef MARKERS
#define MARKERS	1
#endif

#define X	1		/* old objects */
#define Y	2
#define N	3		/* allocated by some thread, at any time, or never */

byte S[2];			/* a thread's stack: one word */
byte G;				/* a plain root */
byte F[4];			/* F[0]: a barriered root; the field of each object */
bool there;			/* N has been allocated */
bool black;			/* after the snapshot */

bool marked[4], queued[4];
bool barrier, stopped, gate;
bool interrupted[2];		/* there was a stop since the thread's section began */
bool owes[2];			/* a thread's stack has not been captured */
bool root_due, plain_due;	/* root jobs */
byte ring[2];
byte ops;			/* open operations */
byte inhand[2];			/* by threads in SETTLE */
bool busy[2];			/* markers at work */
bool begun;			/* one has, since the conductor looked */

inline grey(o)
{
	if
	:: o != 0 && !marked[o] && !(o == N && black) -> marked[o] = true; queued[o] = true
	:: else
	fi
}

/* May thread @t execute an instruction of its own? */
#ifdef NO_CAPTURE
#define runs(t)	(!stopped)
#else
#define runs(t)	(!stopped && !owes[t])
#endif

#ifdef NO_ABORT
#define again	false
#else
#define again	interrupted[t]
#endif

/* Does somebody have a pointer to @o, so that its field can be reached? */
#define known(o)	(S[0] == o || S[1] == o || G == o || F[0] == o)

/* SETTLE: an operation. */
inline settle()
{
	do
	:: atomic { runs(t) && !gate -> ops++; break }
	od;
	atomic { inhand[t] = ring[t]; ring[t] = 0 };
	atomic { grey(inhand[t]); inhand[t] = 0 };
	atomic { ops--; }
}

proctype mutator(bit t)
{
	byte n, i, old;
	bool null, records;

	do
	:: n == OPS -> break
	:: n < OPS ->
		n++;
		if
		/* Loads. */
		:: atomic { runs(t) -> S[t] = G }
		:: atomic { runs(t) -> S[t] = F[0] }
		:: atomic { runs(t) && S[t] != 0 -> S[t] = F[S[t]] }
		:: atomic { runs(t) -> S[t] = 0 }
		/* To the plain root; to the other's stack. */
		:: atomic { runs(t) -> G = S[t] }
		:: atomic { runs(t) -> G = 0 }
		:: atomic { runs(t) -> S[1 - t] = S[t] }
		/* An allocation; and the first store to its field, which needs no record. */
		:: atomic { runs(t) && !there ->
			there = true;
			S[t] = N;
#ifndef WHITE
			black = barrier
#endif
		}
		:: atomic { runs(t) && known(N) && F[N] == 0 && S[t] != N -> F[N] = S[t] }
		/* gca_store(). */
		:: atomic { runs(t) ->
			if
			:: i = 0
			:: known(X) -> i = X
			:: known(Y) -> i = Y
			:: known(N) -> i = N
			fi;
			if
			:: null = true
			:: null = false
			fi
		   };
section:
		   atomic { runs(t) -> interrupted[t] = false; records = barrier };
#if !defined(NO_RECORD)
#ifdef NO_NULL
		   if
		   :: null -> records = false
		   :: else
		   fi;
#endif
		   if
		   :: records ->
			atomic {
				runs(t) ->
				if
				:: again -> goto section
				:: else
				fi;
				old = F[i]
			};
			if
			:: old != 0 && ring[t] != 0 -> settle(); goto section
			:: old == 0
			:: old != 0 && ring[t] == 0 ->
				atomic {
					runs(t) ->
					if
					:: again -> goto section
					:: else
					fi;
					ring[t] = old
				}
			fi
		   :: else
		   fi;
#endif
		   atomic {
			runs(t) ->
			if
			:: again -> goto section
			:: else
			fi;
			F[i] = (null -> 0 : S[t]);
			i = 0;
			old = 0;
			null = false;
			records = false
		   }
		fi
	/* Back from a stop: first the stack. */
	:: atomic { !stopped && owes[t] -> grey(S[t]); owes[t] = false }
	od
}

bool over;

proctype marker(bit m)
{
	byte o, v;

	do
	:: over -> break
	:: atomic {
		!over && (queued[X] || queued[Y] || queued[N] || owes[0] || owes[1] ||
			  root_due || plain_due) ->
		begun = true;
		busy[m] = true
	   };
	   if
	   :: atomic { queued[X] -> queued[X] = false; o = X }
	   :: atomic { queued[Y] -> queued[Y] = false; o = Y }
	   :: atomic { queued[N] -> queued[N] = false; o = N }
	   :: atomic { owes[0] -> grey(S[0]); owes[0] = false }
	   :: atomic { owes[1] -> grey(S[1]); owes[1] = false }
	   :: atomic { root_due -> grey(F[0]); root_due = false }
	   :: atomic { plain_due -> grey(G); plain_due = false }
	   :: else
	   fi;
	   if
	   :: o != 0 ->
		v = F[o];
		atomic { grey(v); o = 0; v = 0 }
	   :: else
	   fi;
	   atomic { busy[m] = false }
	od
}

#ifdef NO_GATE
#define stop()	atomic { gate = true; stopped = true; interrupted[0] = true; interrupted[1] = true }
#else
#define stop()	gate = true; \
	atomic { ops == 0 -> stopped = true; interrupted[0] = true; interrupted[1] = true }
#endif

#define start()	atomic { stopped = false; gate = false }

#define queues	(queued[X] || queued[Y] || queued[N] || owes[0] || owes[1] || root_due || plain_due)

/* Everything that somebody can come to from the roots. */
inline check()
{
	bool r[4];

	d_step {
		r[S[0]] = true;
		r[S[1]] = true;
		r[G] = true;
		r[F[0]] = true;
		k = 0;
		do
		:: k < 3 ->
			if
			:: r[X] -> r[F[X]] = true
			:: else
			fi;
			if
			:: r[Y] -> r[F[Y]] = true
			:: else
			fi;
			if
			:: r[N] -> r[F[N]] = true
			:: else
			fi;
			k++
		:: else -> break
		od;
		assert(!r[X] || marked[X]);
		assert(!r[Y] || marked[Y]);
		assert(!r[N] || marked[N] || black)
	}
}

proctype conductor()
{
	byte k, hand;
	bool left;

#if MARKERS > 1
	/* A stop that did not hold all in time, and was given up. */
	stop();
	start();
#endif
	stop();
	d_step {
		barrier = true;
#ifdef PLAIN_LATE
		plain_due = true;
#else
		grey(G);
#endif
		root_due = true;
		owes[0] = true;
		owes[1] = true;
		ring[0] = 0;
		ring[1] = 0
	};
	start();

	do
	:: /* Rings, while the world runs. */
		k = 0;
		do
		:: k < 2 ->
			atomic { hand = ring[k]; ring[k] = 0 };
			atomic { grey(hand); hand = 0; k++ }
		:: else -> break
		od;
		/* When there seems to be nothing left. */
		(!queues && !busy[0] && !busy[1]);
		stop();
#ifndef NO_DRAIN
		atomic { grey(ring[0]); ring[0] = 0; grey(ring[1]); ring[1] = 0 };
#endif
		left = false;
#ifndef NO_RECHECK
		begun = false;
#ifndef NO_HANDS
		if
		:: busy[0] || busy[1] -> left = true
		:: else
		fi;
#endif
		if
		:: queues -> left = true
		:: else
		fi;
#ifndef NO_BEGUN
		if
		:: begun -> left = true
		:: else
		fi;
#endif
#endif
		if
		:: left -> start()
		:: else -> break
		fi
	od;
	check();
	over = true;
	barrier = false;
	start()
}

init
{
	atomic {
		/* X is somewhere; Y under it, or somewhere else; or there is no Y. */
		if
		:: S[0] = X
		:: G = X
		:: F[0] = X
		:: S[0] = X; F[0] = X
		fi;
		if
		:: F[X] = Y
		:: S[1] = Y
		:: skip
		fi;
		run mutator(0);
		run mutator(1);
		run marker(0);
#if MARKERS > 1
		run marker(1);
#endif
		run conductor()
	}
}
