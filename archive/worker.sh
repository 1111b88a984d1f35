#!/bin/bash
# worker.sh TREE CORE: takes lines of queue.txt one after another
tree=$1; core=$2; here=/work/runs22
while true; do
  line=$( (flock 9; head -1 $here/queue.txt; sed -i 1d $here/queue.txt) 9> $here/queue.lock )
  [ -z "$line" ] && { sleep 20; continue; }
  echo "$(date +%T) core $core begins: $line" >> $here/queue.log
  log=$here/job-$(date +%H%M%S)-$core.log
  (cd $tree && CALOGEN_CORES=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PYTHONPATH=$tree nice -n 19 taskset -c $core bash -c "$line") > $log 2>&1
  echo "$(date +%T) core $core ends ($?): $line" >> $here/queue.log
done
