#!/bin/busybox sh
# First program of the test's virtual machine: the host's file system, read-only below a layer in memory;
# then a loop that runs what the host puts into the shared folder.
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t sysfs sysfs /sys; $b mount -t devtmpfs dev /dev
for module in $($b cat /modules/order); do $b insmod "/modules/$module"; done
share=trans=virtio,version=9p2000.L,msize=512000
$b mount -t 9p -o "ro,$share,cache=loose" host /lower
$b mount -t tmpfs tmpfs /upper; $b mkdir /upper/files /upper/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work,xino=off system /system
for kernel in dev proc sys; do $b mount --move /$kernel /system/$kernel; done
$b mkdir -p /system/vm /system/dev/shm /system/dev/pts
$b mount -t 9p -o "$share,cache=none" shared /system/vm
# Not over /tmp, where the project may lie; the layer in memory serves.
for memory in run dev/shm; do $b mount -t tmpfs tmpfs /system/$memory; done
$b mount -t devpts devpts /system/dev/pts
exec $b chroot /system /bin/sh -c '
  export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run
  /lib/systemd/systemd-udevd --daemon 2>/dev/null
  number=0
  while :; do
    if [ -e "/vm/$number.command" ]; then
      (sh "/vm/$number.command" >"/vm/$number.output" 2>&1 </dev/null
       echo $? >"/vm/$number.temporary"; mv "/vm/$number.temporary" "/vm/$number.status") &
      number=$((number + 1))
    else sleep 0.05; fi
  done'
