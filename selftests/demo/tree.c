// SPDX-License-Identifier: MIT
/*
 * tree.c: the index's ordered dictionary, a persistent treap.
 *
 * Nodes never change.  An insertion copies the path from the root and shares
 * everything else, so an earlier root is an earlier dictionary, at no cost to
 * whoever holds it: the kind of structure that wants a collector, because no
 * one can say when a node is used for the last time.  For the collector it is
 * a stream of small objects that die young, and a few that do not.
 *
 * A node's priority is a hash of its name, so that the shape of the tree is a
 * function of its contents, however it came about: tree_same() uses it.
 *
 * Pointers are stored into fresh nodes only, whose words are still zero: plain
 * C assignments.
 */
#include <string.h>

#include "indexer.h"

int word_compare(struct word a, struct word b)
{
	uint32_t n = a.len < b.len ? a.len : b.len;
	int c = memcmp(a.text, b.text, n);

	return c ? c : (a.len > b.len) - (a.len < b.len);
}

static struct node *node(struct term *t, struct node *left, struct node *right)
{
	struct node *n = heap_check(gca_alloc(heap_m, heap.node));

	n->left = left;
	n->right = right;
	n->term = t;
	n->prio = t->hash >> 32;
	n->size = 1 + tree_size(left) + tree_size(right);
	return n;
}

/* Does @a's priority put it above @b?  Names decide between equal ones. */
static bool above(const struct node *a, const struct node *b)
{
	if (a->prio != b->prio)
		return a->prio > b->prio;
	return word_compare(str_word(a->term->name), str_word(b->term->name)) < 0;
}

static void split(struct node *n, struct word name, struct node **below, struct node **from)
{
	struct node *half;

	if (!n) {
		*below = *from = NULL;
	} else if (word_compare(str_word(n->term->name), name) < 0) {
		split(n->right, name, &half, from);
		*below = node(n->term, n->left, half);
	} else {
		split(n->left, name, below, &half);
		*from = node(n->term, half, n->right);
	}
}

static struct node *join(struct node *a, struct node *b)
{
	if (!a)
		return b;
	if (!b)
		return a;
	if (above(a, b))
		return node(a->term, a->left, join(a->right, b));
	return node(b->term, join(a, b->left), b->right);
}

static struct node *insert(struct node *root, struct node *fresh, struct word name)
{
	struct node *below, *from;

	if (!root || above(fresh, root)) {
		split(root, name, &below, &from);
		return node(fresh->term, below, from);
	}
	if (word_compare(name, str_word(root->term->name)) < 0)
		return node(root->term, insert(root->left, fresh, name), root->right);
	return node(root->term, root->left, insert(root->right, fresh, name));
}

/** tree_insert() - a dictionary that has @t too; it must not have the name */
struct node *tree_insert(struct node *root, struct term *t)
{
	return insert(root, node(t, NULL, NULL), str_word(t->name));
}

/** tree_remove() - a dictionary without @name; it must have it */
struct node *tree_remove(struct node *root, struct word name)
{
	int c = word_compare(name, str_word(root->term->name));

	if (!c)
		return join(root->left, root->right);
	if (c < 0)
		return node(root->term, tree_remove(root->left, name), root->right);
	return node(root->term, root->left, tree_remove(root->right, name));
}

/**
 * tree_build() - the dictionary of @n terms in order
 *
 * By joining halves: n log n nodes, of which n survive.
 */
struct node *tree_build(struct term **sorted, uint32_t n)
{
	if (!n)
		return NULL;
	if (n == 1)
		return node(sorted[0], NULL, NULL);
	return join(tree_build(sorted, n / 2), tree_build(sorted + n / 2, n - n / 2));
}

/** tree_kth() - the @k-th term, from 0; NULL if there are fewer */
struct term *tree_kth(const struct node *root, uint32_t k)
{
	while (root) {
		uint32_t left = tree_size(root->left);

		if (k == left)
			return root->term;
		if (k < left) {
			root = root->left;
		} else {
			k -= left + 1;
			root = root->right;
		}
	}
	return NULL;
}

/**
 * tree_rank() - number of terms below @name
 * @prefix_above: count those that begin with @name as below it, too
 */
uint32_t tree_rank(const struct node *root, struct word name, bool prefix_above)
{
	uint32_t rank = 0;

	while (root) {
		struct word w = str_word(root->term->name);

		if (prefix_above && w.len > name.len)
			w.len = name.len;
		if (word_compare(w, name) < (prefix_above ? 1 : 0)) {
			rank += tree_size(root->left) + 1;
			root = root->right;
		} else {
			root = root->left;
		}
	}
	return rank;
}

/** tree_list() - write the terms in order from @out[@n] on; Return: how many now */
uint32_t tree_list(const struct node *root, struct term **out, uint32_t n)
{
	for (; root; root = root->right) {
		n = tree_list(root->left, out, n);
		/* @out is an array fresh from gca_alloc_array() */
		out[n++] = root->term;
	}
	return n;
}

/** tree_same() - the same terms in the same shape? */
bool tree_same(const struct node *a, const struct node *b)
{
	for (; a && b; a = a->right, b = b->right)
		if (a->term != b->term || a->size != b->size || !tree_same(a->left, b->left))
			return false;
	return a == b;
}
