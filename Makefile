# SPDX-License-Identifier: GPL-2.0-only
#
#	make			the library, and the module if the running kernel's headers are here
#	make demo		a real program collected by the kernel, in a guest
#	make check		all tests; what CI runs.  Ends with "N passed, N failed"
#	make check-host		those that need no guest
#	make check-long		soak, fail-nth over everything, long loops
#	make bench		measurements beside peers: bdwgc, Go, malloc, mimalloc
#	make install		the library: DESTDIR=, PREFIX=/usr/local
#	make modules_install	the module, for KDIR's kernel
#	make lib module clean
#
# demo, check and bench install the Debian packages they miss (as root) and load
# nothing into this machine's kernel.

KVER	?= $(shell uname -r)
KDIR	?= /lib/modules/$(KVER)/build
BUILD	:= $(CURDIR)/.build
PREFIX	?= /usr/local
DESTDIR	?=

ifneq ($(shell uname -m),x86_64)
$(error gcarena is for x86-64 only)
endif

all: lib
	@if [ -e $(KDIR)/Makefile ]; then $(MAKE) module; else \
	echo "No headers of kernel $(KVER) in $(KDIR): the module was not built." \
	     "Install them, or name others: make module KDIR=..."; fi

lib:
	@$(MAKE) -s -C userlib BUILD=$(BUILD) PREFIX=$(PREFIX) all

module:
	$(MAKE) -C $(KDIR) M=$(CURDIR) modules

modules_install: module
	$(MAKE) -C $(KDIR) M=$(CURDIR) $(if $(DESTDIR),INSTALL_MOD_PATH=$(abspath $(DESTDIR))) modules_install
	install -d $(DESTDIR)/usr/lib/udev/rules.d $(DESTDIR)/usr/lib/sysusers.d
	install -m 644 kmod/udev/60-gcarena.rules $(DESTDIR)/usr/lib/udev/rules.d/
	install -m 644 kmod/udev/gcarena.sysusers $(DESTDIR)/usr/lib/sysusers.d/gcarena.conf

install: lib
	@$(MAKE) -s -C userlib BUILD=$(BUILD) PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) install
	install -d $(DESTDIR)$(PREFIX)/share/man/man3 $(DESTDIR)$(PREFIX)/share/man/man4 \
		$(DESTDIR)$(PREFIX)/share/man/man7
	for n in 3 4 7; do install -m 644 Documentation/man/*.$$n \
		$(DESTDIR)$(PREFIX)/share/man/man$$n/; done

demo:
	@selftests/setup demo
	@selftests/demo/run-demo

check check-host check-long:
	@selftests/setup check
	@selftests/check $@

bench:
	@selftests/setup bench
	@selftests/bench/run

clean:
	rm -rf .build
	@[ ! -e $(KDIR)/Makefile ] || $(MAKE) -s -C $(KDIR) M=$(CURDIR) clean

.PHONY: all lib module modules_install install demo check check-host check-long bench clean
