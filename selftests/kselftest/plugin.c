// SPDX-License-Identifier: GPL-2.0-only
/* plugin.c: a library for dlopen(): its data, its bss, a relocated page beside them. */
void *plugin_bss;
void *plugin_data[3] = { 0, &plugin_bss, 0 };
