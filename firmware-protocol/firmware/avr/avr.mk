# The imager for an ATmega328P at 16 MHz: `make avr` builds, `make avr-check` builds anew and compares
# with the committed lastspin-avr.hex, `make avr-commit` replaces it. The same compiler (Debian's gcc-avr
# 5.4) gives the same bytes: nothing in them knows a date or a path.
AVR_DIR := $(dir $(lastword $(MAKEFILE_LIST)))
AVR_OUT ?= $(AVR_DIR)build
AVR_CORE ?= $(AVR_DIR)../core
AVR_BAUD ?= 115200
AVR_CC := avr-gcc
AVR_FLAGS := -mmcu=atmega328p -DF_CPU=16000000UL -DLASTSPIN_BAUD=$(AVR_BAUD)UL -std=gnu99 -Os -flto \
  -fno-strict-aliasing -fshort-enums -ffunction-sections -fdata-sections -Wl,--gc-sections \
  -Wall -Wextra -Wconversion -Wshadow -Werror -I$(AVR_DIR) -I$(AVR_CORE)
AVR_CORE_SOURCES := $(sort $(wildcard $(AVR_CORE)/*.c))
AVR_SOURCES := $(addprefix $(AVR_DIR),main.c serial.c sensors.c) $(AVR_CORE_SOURCES)
AVR_HEADERS := $(wildcard $(AVR_DIR)*.h $(AVR_CORE)/*.h)
# What fits with room to spare: 32,768 bytes of flash without a loader, 2,048 of RAM with the stack.
AVR_FLASH_MAX := 16384
AVR_RAM_MAX := 1600

# With a name each, so that a Makefile that includes this keeps its own.
.PHONY: avr mutant avr-check avr-commit avr-size

avr: $(AVR_OUT)/lastspin-avr.hex $(AVR_OUT)/lastspin-avr.symbols avr-size

$(AVR_OUT)/lastspin-avr.elf: $(AVR_SOURCES) $(AVR_HEADERS)
	@mkdir -p $(AVR_OUT)
	$(AVR_CC) $(AVR_FLAGS) -o $@ $(AVR_SOURCES)

$(AVR_OUT)/lastspin-avr.hex: $(AVR_OUT)/lastspin-avr.elf
	avr-objcopy -O ihex -R .eeprom $< $@

# Where the tests find what they look at: address, size, name.
$(AVR_OUT)/lastspin-avr.symbols: $(AVR_OUT)/lastspin-avr.elf
	avr-nm -S $< | sed 's/\.lto_priv.*//' | awk '/ (kept|elapsed_ms)$$/ { print $$1, $$2, $$4 }' | sort > $@

avr-size: $(AVR_OUT)/lastspin-avr.elf
	@avr-size -A $< | awk '\
	  $$1 == ".text" { flash += $$2 } $$1 == ".data" { flash += $$2; ram += $$2 } \
	  $$1 == ".bss" || $$1 == ".noinit" { ram += $$2 } \
	  END { printf "flash %d of at most $(AVR_FLASH_MAX) bytes, RAM %d of at most $(AVR_RAM_MAX) and the stack\n", flash, ram; \
	    exit flash > $(AVR_FLASH_MAX) || ram > $(AVR_RAM_MAX) }'

# For test/firmware/avr-mutants.mjs: what was broken may leave something unused.
mutant: AVR_FLAGS += -Wno-error
mutant: $(AVR_OUT)/lastspin-avr.hex $(AVR_OUT)/lastspin-avr.symbols

avr-check: avr
	cmp $(AVR_OUT)/lastspin-avr.hex $(AVR_DIR)lastspin-avr.hex
	cmp $(AVR_OUT)/lastspin-avr.symbols $(AVR_DIR)lastspin-avr.symbols

avr-commit: avr
	cp $(AVR_OUT)/lastspin-avr.hex $(AVR_OUT)/lastspin-avr.symbols $(AVR_DIR)
